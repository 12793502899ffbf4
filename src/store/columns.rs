//! How columns are read into the crate's own words.

use sqlx::postgres::{PgTypeInfo, PgValueRef};
use sqlx::types::Decimal;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{Decode, Postgres, Type, error::BoxDynError};

use crate::core::money::Money;
use crate::wire::time::WireTime;

macro_rules! column {
    ($word:ty, as $column:ty, by $read:expr) => {
        impl Type<Postgres> for $word {
            fn type_info() -> PgTypeInfo {
                <$column as Type<Postgres>>::type_info()
            }

            fn compatible(ty: &PgTypeInfo) -> bool {
                <$column as Type<Postgres>>::compatible(ty)
            }
        }

        impl Decode<'_, Postgres> for $word {
            fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
                <$column as Decode<Postgres>>::decode(value).map($read)
            }
        }
    };
}

// The columns have two decimals.
column!(Money, as Decimal, by Money::rounded);
column!(WireTime, as DateTime<Utc>, by WireTime::from);
