//! The index of stores from the database: whole, or a few of them. The applier alone writes it, so nothing is lost
//! between the one it reads and the one it puts in its place.

use std::sync::Arc;

use super::Engine;
use crate::core::ids::ProviderId;
use crate::core::stores::Stores;
use crate::store::StoreError;
use crate::store::stores::{self, Flaw};

/// Every store.
pub(super) async fn all(engine: &Engine) -> Result<(), StoreError> {
    let (rows, flaws) = stores::load(&engine.pool, None).await?;
    engine.stores.store(Arc::new(Stores::new(rows)));
    report(&flaws);
    Ok(())
}

/// Those of these providers that are stores, or were. The tree is built anew only if one of them differs.
pub(super) async fn some(engine: &Engine, changed: &[ProviderId]) -> Result<(), StoreError> {
    let before = engine.stores();
    // Therapists change all the time, stores hardly ever: who is known as the one is not asked for as the other.
    let is_therapist = |id: &ProviderId| engine.fleet.therapist(*id).is_some() && before.get(*id).is_none();
    let ids: Vec<_> = changed.iter().copied().filter(|id| !is_therapist(id)).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let (rows, flaws) = stores::load(&engine.pool, Some(&ids)).await?;
    if let Some(after) = before.with(&ids, rows) {
        engine.stores.store(Arc::new(after));
    }
    report(&flaws);
    Ok(())
}

fn report(flaws: &[Flaw]) {
    for flaw in flaws {
        tracing::warn!(provider_id = flaw.provider.0, problem = %flaw.problem, "a store is shown without what its row says and nobody can read");
    }
    if !flaws.is_empty() {
        metrics::counter!("spacall_store_row_flaws_total").increment(flaws.len() as u64);
    }
}
