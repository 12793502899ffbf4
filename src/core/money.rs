//! Money in whole centavos of one currency (PHP), as the schema's `DECIMAL(_, 2)` columns hold it.

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount with exactly two decimals, kept in centavos. On the wire a decimal string: `"800.00"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Rounds to centavos, half away from zero: the rounding of every amount in this service. Beyond 92 thousand million
    /// million pesos it saturates; the largest column ends at 100 million.
    pub fn rounded(amount: Decimal) -> Self {
        let mut amount = amount.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
        amount.rescale(2);
        let most = if amount.is_sign_negative() { i64::MIN } else { i64::MAX };
        Self(if amount.scale() == 2 { i64::try_from(amount.mantissa()).unwrap_or(most) } else { most })
    }

    /// From centavos.
    pub const fn centavos(centavos: i64) -> Self {
        Self(centavos)
    }

    /// In centavos.
    pub const fn in_centavos(self) -> i64 {
        self.0
    }

    /// The amount as a decimal number of pesos.
    pub fn decimal(self) -> Decimal {
        Decimal::new(self.0, 2)
    }

    /// The smaller of two amounts.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Ord::min(self, other)
    }

    /// `percent` % of this amount, rounded to centavos.
    #[must_use]
    pub fn percent(self, percent: Decimal) -> Self {
        Self::rounded(self.decimal() * percent / Decimal::ONE_HUNDRED)
    }
}

impl std::ops::Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::ops::Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sign, centavos) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        write!(f, "{sign}{}.{:02}", centavos / 100, centavos % 100)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    /// A decimal string or a JSON number with at most two decimals; more would be a silent rounding, so it is refused.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let amount = <Decimal as Deserialize>::deserialize(d)?;
        if amount.normalize().scale() > 2 {
            return Err(serde::de::Error::custom(format!("{amount} has more than two decimals")));
        }
        let money = Self::rounded(amount);
        if money.decimal() != amount {
            return Err(serde::de::Error::custom(format!("{amount} is more than {}", Self(i64::MAX))));
        }
        Ok(money)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_half_away_from_zero() {
        for (from, to) in [("0.005", "0.01"), ("-0.005", "-0.01"), ("1.004", "1.00"), ("2", "2.00")] {
            let amount: Decimal = from.parse().expect("a decimal");
            assert_eq!(Money::rounded(amount).to_string(), to);
        }
    }

    #[test]
    fn every_amount_is_written_with_its_two_decimals() {
        for (amount, text) in [
            (Money::centavos(80_000), "800.00"),
            (Money::centavos(5), "0.05"),
            (Money::centavos(-5), "-0.05"),
            (Money::centavos(i64::MAX), "92233720368547758.07"),
            (Money::ZERO, "0.00"),
            (Money::centavos(-80_005), "-800.05"),
            (Money::rounded(Decimal::from(7)), "7.00"),
            (Money::centavos(10_000), "100.00"),
            (Money::centavos(u32::MAX.into()), "42949672.95"),
            (Money::centavos(i64::from(u32::MAX) + 1), "42949672.96"),
        ] {
            assert_eq!(amount.to_string(), text);
            assert_eq!(serde_json::json!(amount), text);
        }
    }

    #[test]
    fn what_no_column_holds_saturates_and_is_refused_on_the_wire() {
        for (text, expect) in [
            ("92233720368547758.07", i64::MAX),
            ("92233720368547758.08", i64::MAX),
            ("-79228162514264337593543950335", i64::MIN),
        ] {
            assert_eq!(Money::rounded(text.parse().expect("a decimal")), Money(expect), "{text}");
        }
        assert!(serde_json::from_str::<Money>("\"92233720368547758.07\"").is_ok());
        assert!(serde_json::from_str::<Money>("\"92233720368547758.08\"").is_err());
    }

    #[test]
    fn a_third_decimal_is_refused_not_rounded() {
        assert!(serde_json::from_str::<Money>("\"1.005\"").is_err());
        assert_eq!(serde_json::from_str::<Money>("\"1.500\"").map(|m| m.to_string()).ok().as_deref(), Some("1.50"));
    }
}
