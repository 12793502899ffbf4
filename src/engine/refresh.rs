//! Therapists whose rows this node wants read, ahead of a notification or without one. The applier reads them, in turn with
//! what it hears: rows that were read elsewhere could be put into the index after newer ones.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::core::ids::ProviderId;

/// How long an answer is held back until the index shows what it tells. The applier needs a few milliseconds; where it is behind
/// (a whole fleet is being read, the database is away), nobody is kept from what is committed.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// Each therapist once: as many as there are, at most. None is ever turned away.
#[derive(Default)]
pub(super) struct Refresh {
    waiting: Mutex<Wanted>,
    some: Notify,
}

/// What is to be read, and who waits for it.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) therapists: BTreeSet<ProviderId>,
    /// The catalog.
    pub(super) catalog: bool,
    /// Told when these have been applied; dropped when that failed, after which everything is read anew.
    pub(super) askers: Vec<oneshot::Sender<()>>,
    /// The same of who wait for the catalog, and for whoever offers what changed of it.
    catalog_askers: Vec<oneshot::Sender<()>>,
}

impl Wanted {
    /// The index shows what was read of them.
    pub(super) fn are_applied(self) {
        for asker in self.askers.into_iter().chain(self.catalog_askers) {
            // Who has left does not want to know.
            let _told = asker.send(());
        }
    }
}

impl Refresh {
    /// Never waits.
    pub(super) fn add(&self, therapists: impl IntoIterator<Item = ProviderId>) {
        self.lock().therapists.extend(therapists);
        self.some.notify_one();
    }

    /// The same; hears when the index shows what was read.
    pub(super) fn ask(&self, therapists: impl IntoIterator<Item = ProviderId>) -> oneshot::Receiver<()> {
        self.want(therapists, false)
    }

    fn want(&self, therapists: impl IntoIterator<Item = ProviderId>, catalog: bool) -> oneshot::Receiver<()> {
        let (asker, done) = oneshot::channel();
        let mut waiting = self.lock();
        waiting.therapists.extend(therapists);
        waiting.catalog |= catalog;
        if catalog {
            waiting.catalog_askers.push(asker);
        } else {
            waiting.askers.push(asker);
        }
        drop(waiting);
        self.some.notify_one();
        done
    }

    /// Returns when the index shows the rows of these as they are committed by now, or some newer ones; or after
    /// [`SHOWN_WITHIN`]: they are read all the same.
    pub(super) async fn shown(&self, therapists: impl IntoIterator<Item = ProviderId>) {
        let therapists: BTreeSet<_> = therapists.into_iter().collect();
        if therapists.is_empty() {
            return;
        }
        // Dropped when the reading failed, after which everything is read, this question's answer among it.
        let applied = async { while self.ask(therapists.iter().copied()).await.is_err() {} };
        if tokio::time::timeout(SHOWN_WITHIN, applied).await.is_err() {
            tracing::debug!(?therapists, "answered before the index shows it: the applier is behind");
        }
    }

    /// The same for the catalog, and for whoever offers what changed of it.
    pub(super) async fn catalog_shown(&self) {
        let applied = async { while self.want([], true).await.is_err() {} };
        if tokio::time::timeout(SHOWN_WITHIN, applied).await.is_err() {
            tracing::debug!("answered before the index shows the catalog: the applier is behind");
        }
    }

    /// Returns when somebody was added since; perhaps taken already. Cancel safe.
    pub(super) async fn some(&self) {
        self.some.notified().await;
    }

    /// All that waits.
    pub(super) fn take(&self) -> Wanted {
        std::mem::take(&mut *self.lock())
    }

    /// The therapists that wait, and who waits for them; the catalog goes on waiting.
    pub(super) fn take_therapists(&self) -> Wanted {
        let mut waiting = self.lock();
        Wanted {
            therapists: std::mem::take(&mut waiting.therapists),
            askers: std::mem::take(&mut waiting.askers),
            ..Wanted::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        // Nothing panics half way through a change under this lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn whoever_is_added_is_taken_once_however_many_they_are() {
        let refresh = Refresh::default();
        let mut done = refresh.ask([ProviderId(7)]);
        for id in (0..100_000).chain(0..10) {
            refresh.add([ProviderId(id)]);
        }
        refresh.some().await;
        let taken = refresh.take();
        assert_eq!((taken.therapists.len(), taken.askers.len()), (100_000, 1));
        assert!(refresh.take().therapists.is_empty());
        assert!(done.try_recv().is_err(), "not yet");
        taken.are_applied();
        done.await.expect("told");
    }

    #[tokio::test]
    async fn who_waits_for_a_therapist_does_not_wait_for_the_catalog() {
        let refresh = Refresh::default();
        let (mut catalog, his) = (refresh.want([], true), refresh.ask([ProviderId(7)]));
        let taken = refresh.take_therapists();
        assert_eq!((taken.catalog, &taken.therapists), (false, &[ProviderId(7)].into()));
        taken.are_applied();
        his.await.expect("told");
        assert!(catalog.try_recv().is_err(), "not yet");
        let taken = refresh.take();
        assert!(taken.catalog && taken.therapists.is_empty());
        taken.are_applied();
        catalog.await.expect("told");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_waits_for_the_index_through_a_failed_reading_but_not_for_ever() {
        const HIM: [ProviderId; 1] = [ProviderId(7)];
        let refresh = Arc::new(Refresh::default());
        refresh.shown([]).await;
        let asking = Arc::clone(&refresh);
        let shown = tokio::spawn(async move { asking.shown(HIM).await });
        refresh.some().await;
        // The reading failed: everything is read, and he is waited for.
        drop(refresh.take());
        refresh.some().await;
        let taken = refresh.take();
        assert!(!shown.is_finished() && taken.therapists == HIM.into());
        taken.are_applied();
        shown.await.expect("answered");

        // Nobody applies anything.
        let a_moment = Duration::from_millis(10);
        let early = tokio::time::timeout(SHOWN_WITHIN - a_moment, refresh.shown(HIM)).await;
        let late = tokio::time::timeout(SHOWN_WITHIN + a_moment, refresh.shown(HIM)).await;
        assert_eq!((early.is_ok(), late.is_ok()), (false, true));
        assert_eq!(refresh.take().therapists, HIM.into(), "he is read later");
    }
}
