//! placeholder
use sqlx::PgPool;
/// Clears.
pub async fn clear(_pool: &PgPool) -> Result<(), super::StoreError> {
    Ok(())
}
