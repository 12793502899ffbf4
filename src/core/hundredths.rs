//! Ratings and percentages: numbers of two decimals that two bytes hold, bounded as the schema's columns are.

use rust_decimal::Decimal;

use super::money::Money;

/// Why a number is none of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{value} is not within 0.00 to {most}")]
pub struct OutOfRange {
    value: Decimal,
    most: Decimal,
}

macro_rules! hundredths {
    ($($(#[$doc:meta])* $name:ident up to $most:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(u16);

        impl $name {
            /// The least.
            pub const ZERO: Self = Self(0);
            /// The most there is.
            pub const MOST: Self = Self($most);

            /// From hundredths; `None` if they are too many.
            pub const fn from_hundredths(hundredths: u16) -> Option<Self> {
                if hundredths <= $most { Some(Self(hundredths)) } else { None }
            }

            /// In hundredths.
            pub const fn hundredths(self) -> u16 {
                self.0
            }

            /// As a decimal number with two decimals.
            pub fn decimal(self) -> Decimal {
                Decimal::new(self.0.into(), 2)
            }
        }

        impl TryFrom<Decimal> for $name {
            type Error = OutOfRange;

            /// Rounds to hundredths, half away from zero: as amounts are rounded.
            fn try_from(value: Decimal) -> Result<Self, OutOfRange> {
                let hundredths = u16::try_from(Money::rounded(value).in_centavos()).ok();
                hundredths.and_then(Self::from_hundredths).ok_or(OutOfRange { value, most: Self::MOST.decimal() })
            }
        }
    )*};
}

hundredths! {
    /// An average of reviews, 0.00 to 5.00 stars: `providers.average_rating`, DECIMAL(3, 2).
    Rating up to 500,
    /// A share in percent, 0.00 to 100.00: `providers.commission_rate`, DECIMAL(5, 2).
    Percent up to 10_000,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_the_columns_comes_back_as_it_was_and_in_its_order() {
        for hundredths in 0..=10_000 {
            let value = Decimal::new(hundredths.into(), 2);
            let percent = Percent::try_from(value).expect("a percentage");
            assert_eq!((percent.decimal(), percent.hundredths()), (value, hundredths));
            assert_eq!(percent.decimal().to_string(), value.to_string(), "with both decimals");
            assert_eq!(Percent::from_hundredths(hundredths), Some(percent));
            let rating = Rating::try_from(value).ok();
            assert_eq!(rating.map(Rating::decimal), Some(value).filter(|_| hundredths <= 500));
            assert_eq!(Rating::from_hundredths(hundredths), rating);
            let next = Percent::from_hundredths(hundredths + 1);
            assert!(next.is_none_or(|next| percent < next && percent.decimal() < next.decimal()));
        }
    }

    #[test]
    fn what_is_finer_is_rounded_half_away_from_zero() {
        for (value, hundredths) in
            [("4.004", 400), ("4.005", 401), ("4.015", 402), ("4.5", 450), ("5.0049", 500), ("-0.004", 0), ("5", 500)]
        {
            let rating = Rating::try_from(value.parse::<Decimal>().expect("a number"));
            assert_eq!(rating, Ok(Rating(hundredths)), "{value}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_told_with_what_is_allowed() {
        let rating = |value: &str| Rating::try_from(value.parse::<Decimal>().expect("a number"));
        for value in ["5.005", "-0.01", "655.41", "79228162514264337593543950335"] {
            assert_eq!(rating(value).expect_err(value).to_string(), format!("{value} is not within 0.00 to 5.00"));
        }
        let percent = Percent::try_from(Decimal::new(10_001, 2)).expect_err("too much");
        assert_eq!(percent.to_string(), "100.01 is not within 0.00 to 100.00");
    }
}
