//! Whose hash is computed when: a few at once, of one address fewer, and so many a minute. A hash is a quarter of a second of a processor,
//! and whoever likes may ask for one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::door::{PerAddress, site};
use super::problem::Problem;
use crate::clock;

/// Who waits for a turn, at most: they are through within seconds.
const PLACES: usize = 32;

/// Of one address (of IPv6: a /48).
const PLACES_OF_ONE: usize = 4;

/// Hashes a minute for an address, whether or not it was let in: an eighth of what one processor computes.
const HASHES: usize = 30;

/// The turns.
pub struct Turns {
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
    taken: Arc<Taken>,
    hashes: PerAddress,
}

/// How many places whom has. No more of them than there are places.
#[derive(Default)]
struct Taken(Mutex<HashMap<IpAddr, usize>>);

impl Taken {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by who waits, and until his hash is computed.
struct Place {
    taken: Arc<Taken>,
    whose: IpAddr,
    _one: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        if let Some(count) = taken.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.whose);
            }
        }
    }
}

impl Default for Turns {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self {
            turns: Arc::new(Semaphore::new((processors / 4).max(1))),
            places: Arc::new(Semaphore::new(PLACES)),
            taken: Arc::default(),
            hashes: PerAddress::new(HASHES),
        }
    }
}

impl Turns {
    /// Does the work of one hash for this address, when it is its turn. Work once begun keeps its turn to its end, even if nobody waits for
    /// it any more.
    ///
    /// # Errors
    /// 429 when the address has too many, 503 when all have: nothing was done.
    pub async fn take<T: Send + 'static>(
        &self,
        address: IpAddr,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let now = clock::monotonic();
        if let Some(problem) = self.hashes.take(&(), address, now).refused("Too many passwords from this address.") {
            return Err(problem);
        }
        let place = self.place(site(address)).inspect_err(|_| self.hashes.give_back(&(), address, now))?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| busy())?;
        let work = tokio::task::spawn_blocking(move || {
            let done = work();
            drop((turn, place));
            done
        });
        work.await.map_err(|_| {
            tracing::error!("the check of a password panicked");
            Problem::internal()
        })
    }

    fn place(&self, whose: IpAddr) -> Result<Place, Problem> {
        let mut taken = self.taken.lock();
        let count = taken.get(&whose).copied().unwrap_or_default();
        if count >= PLACES_OF_ONE {
            let text = "Too many passwords from this address at once; try again.";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", text).retry_after(1));
        }
        let one = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        taken.insert(whose, count + 1);
        Ok(Place { taken: Arc::clone(&self.taken), whose, _one: one })
    }

    /// Everybody waits until this is dropped.
    #[cfg(test)]
    pub async fn hold(&self) -> impl Drop + use<> {
        let all = u32::try_from(self.turns.available_permits()).expect("few");
        Arc::clone(&self.turns).acquire_many_owned(all).await.expect("turns")
    }
}

fn busy() -> Problem {
    Problem::unavailable("Too many passwords are being checked right now; try again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(nth: usize) -> IpAddr {
        IpAddr::from([198, 51, 100, u8::try_from(nth).expect("a byte")])
    }

    async fn waiting(turns: &Arc<Turns>, places: usize) -> Vec<tokio::task::JoinHandle<u16>> {
        let all = (0..places).map(|nth| {
            let turns = Arc::clone(turns);
            tokio::spawn(
                async move { turns.take(address(nth / PLACES_OF_ONE), || ()).await.map_or_else(status, |()| 200) },
            )
        });
        let all = all.collect();
        while turns.places.available_permits() > PLACES - places {
            tokio::task::yield_now().await;
        }
        all
    }

    fn status(problem: Problem) -> u16 {
        problem.status().as_u16()
    }

    #[tokio::test]
    async fn so_many_wait_and_no_more() {
        let turns = Arc::new(Turns::default());
        let held = turns.hold().await;
        let all = waiting(&turns, PLACES).await;
        let refused = turns.take(address(200), || ()).await.expect_err("no place");
        assert_eq!((refused.status().as_u16(), refused.code()), (503, "unavailable"));
        drop(held);
        for one in all {
            assert_eq!(one.await.expect("no panic"), 200);
        }
        assert_eq!((turns.places.available_permits(), turns.taken.lock().len()), (PLACES, 0));
    }

    #[tokio::test]
    async fn no_address_takes_the_places_of_all() {
        let turns = Arc::new(Turns::default());
        let held = turns.hold().await;
        let all = waiting(&turns, PLACES_OF_ONE).await;
        for _ in 0..2 * HASHES {
            assert_eq!(turns.take(address(0), || ()).await.map_or_else(status, |()| 200), 429);
        }
        let other = waiting(&turns, PLACES_OF_ONE + 1).await.pop().expect("one");
        drop(held);
        assert_eq!(other.await.expect("no panic"), 200);
        for one in all {
            assert_eq!(one.await.expect("no panic"), 200);
        }
        assert_eq!(
            turns.take(address(0), || ()).await.map_or_else(status, |()| 200),
            200,
            "what was refused was not counted"
        );
    }

    #[tokio::test]
    async fn so_many_hashes_a_minute_for_an_address() {
        let turns = Turns::default();
        for nth in 0..=HASHES {
            let status = turns.take(address(0), || ()).await.map_or_else(status, |()| 200);
            assert_eq!(status, if nth < HASHES { 200 } else { 429 }, "{nth}");
        }
        assert!(turns.take(address(1), || ()).await.is_ok(), "another");
    }
}
