//! Money in whole centavos of one currency (PHP), as the schema's `DECIMAL(_, 2)` columns hold it.

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount with exactly two decimals. On the wire a decimal string: `"800.00"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Money(Decimal);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Rounds to centavos, half away from zero: the rounding of every amount in this service.
    pub fn rounded(amount: Decimal) -> Self {
        let mut amount = amount.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
        amount.rescale(2);
        Self(amount)
    }

    /// From centavos.
    pub fn centavos(centavos: i64) -> Self {
        Self(Decimal::new(centavos, 2))
    }

    /// The amount as a decimal number of pesos.
    pub const fn decimal(self) -> Decimal {
        self.0
    }

    /// The smaller of two amounts.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Ord::min(self, other)
    }

    /// `percent` % of this amount, rounded to centavos.
    #[must_use]
    pub fn percent(self, percent: Decimal) -> Self {
        Self::rounded(self.0 * percent / Decimal::ONE_HUNDRED)
    }
}

impl std::ops::Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl std::ops::Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2}", self.0)
    }
}

impl Serialize for Money {
    /// Digit by digit where it is plain: an answer to a search has dozens of amounts, and the general way is slow.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Some(mut rest) = u32::try_from(self.0.mantissa()).ok().filter(|_| self.0.scale() == 2) else {
            return s.collect_str(self);
        };
        let mut text = *b"00000000.00"; // u32::MAX centavos are 42949672.95
        for digit in text.iter_mut().rev().filter(|digit| **digit != b'.') {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        // One digit stays before the point.
        let zeros = text[..7].iter().take_while(|digit| **digit == b'0').count();
        match std::str::from_utf8(&text[zeros..]) {
            Ok(text) => s.serialize_str(text),
            Err(_) => s.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Money {
    /// A decimal string or a JSON number with at most two decimals; more would be a silent rounding, so it is refused.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let amount = <Decimal as Deserialize>::deserialize(d)?;
        if amount.normalize().scale() > 2 {
            return Err(serde::de::Error::custom(format!("{amount} has more than two decimals")));
        }
        Ok(Self::rounded(amount))
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
            (Money(Decimal::new(7, 0)), "7.00"),
            (Money::centavos(100_00), "100.00"),
            (Money::centavos(u32::MAX.into()), "42949672.95"),
            (Money::centavos(i64::from(u32::MAX) + 1), "42949672.96"),
        ] {
            assert_eq!(amount.to_string(), text);
            assert_eq!(serde_json::json!(amount), text);
        }
    }

    #[test]
    fn a_third_decimal_is_refused_not_rounded() {
        assert!(serde_json::from_str::<Money>("\"1.005\"").is_err());
        assert_eq!(serde_json::from_str::<Money>("\"1.500\"").map(|m| m.to_string()).ok().as_deref(), Some("1.50"));
    }
}
