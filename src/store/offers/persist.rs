//! An offer is first a committed row, then a message.

use std::time::Duration;

use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::live::{live_offer_in, new_offer_in};
use crate::core::geo::{Meters, km_2};
use crate::core::ids::{BookingId, OfferId, ProviderId, UserId};
use crate::core::time::Timestamp;
use crate::store::StoreError;
use crate::store::bookings::{fit, lock};
use crate::store::tx::begin_move;
use crate::wire::stream::Offer;
use crate::wire::time::{from_chrono, to_chrono};

/// What the dispatch machine decided.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct NewOffer {
    /// Of what.
    pub booking: BookingId,
    /// To whom.
    pub provider: ProviderId,
    /// Of the search, from 1.
    pub round: u16,
    /// In the round, from 1: the best.
    pub rank: u16,
    /// Between therapist and place.
    pub distance: Meters,
    /// To answer, from the app's receipt.
    pub ttl: Duration,
    /// For the receipt to come, at most.
    pub grace: Duration,
    /// Of the search that it belongs to: a booking that was given back since is searched for anew, by another one.
    pub deadline: Timestamp,
    /// It ends then at the latest; not beyond the deadline.
    pub until: Timestamp,
    /// Live offers of the booking at a time, at most.
    pub width: u16,
}

/// A live offer, committed: it may be sent.
#[derive(Clone, Debug)]
pub struct Persisted {
    /// Its id.
    pub offer: OfferId,
    /// Who is asked.
    pub provider: ProviderId,
    /// min(until, now + ttl + grace), by the database's clock.
    pub expires_at: Timestamp,
    /// The person to tell.
    pub user: UserId,
    /// Of a booking for `now`: he is asked for no other until this ends.
    pub now: bool,
    /// The message.
    pub message: Offer,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum PersistOutcome {
    /// Committed.
    Offered(Box<Persisted>),
    /// This round and rank were written by an earlier try and are no longer live: nothing to send.
    Known {
        /// Its id.
        offer: OfferId,
        /// Who was asked.
        provider: ProviderId,
        /// As committed.
        expires_at: Timestamp,
    },
    /// The therapist has a live offer of another booking for `now`, and this is one.
    ProviderTaken,
    /// The therapist can not take it (any more): offline, busy, not verified, too dear, blocked, gone.
    ProviderUnfit,
    /// It has as many live offers as it may have: one that was given up is not closed yet, or this write is the one.
    Enough,
    /// It is no longer pending, or past its deadline, or searched for anew.
    BookingGone,
}

/// Commits an offer, or says why not. Written again after an answer that got lost, it finds its own row: the row of a
/// booking's round and rank is the answer, whatever its status.
pub async fn persist(pool: &PgPool, new: &NewOffer) -> Result<PersistOutcome, StoreError> {
    let mut tx = begin_move(pool, None).await?;
    let Some(booking) = lock(&mut tx, new.booking).await? else { return Ok(PersistOutcome::BookingGone) };
    if from_chrono(booking.deadline) != new.deadline {
        return Ok(PersistOutcome::BookingGone); // a write that comes after its search
    }
    let state = look(&mut tx, new).await?;
    if let Some(known) = state.earlier() {
        return known_as(&mut tx, known, booking.is_now()).await;
    }
    if booking.status != "pending" || booking.deadline <= state.now {
        return Ok(PersistOutcome::BookingGone);
    }
    if booking.provider_id.is_some_and(|chosen| chosen != new.provider.0) {
        return Ok(PersistOutcome::ProviderUnfit);
    }
    if state.live >= i64::from(new.width) {
        return Ok(PersistOutcome::Enough);
    }
    let Some((offer, expires_at)) = insert(&mut tx, new).await? else {
        // What was due is expired all the same.
        tx.commit().await?;
        return Ok(PersistOutcome::ProviderTaken);
    };
    // After the insert: its unique index made us wait for any other transaction that was giving this therapist work. (Of a
    // scheduled booking it does not: the accept decides.)
    let Some(fit) = fit::fit(&mut tx, &booking, new.provider, new.distance, fit::For::Offer(state.now)).await? else {
        return Ok(PersistOutcome::ProviderUnfit);
    };
    let offer = OfferId(offer);
    let message = new_offer_in(&mut tx, offer, &booking, &fit).await?;
    tx.commit().await?;
    let expires_at = from_chrono(expires_at);
    Ok(PersistOutcome::Offered(Box::new(Persisted {
        offer,
        provider: new.provider,
        expires_at,
        user: fit.user,
        now: booking.is_now(),
        message,
    })))
}

/// What is there, under the booking's lock, which keeps it from growing.
#[derive(sqlx::FromRow)]
struct State {
    now: DateTime<Utc>,
    /// Live offers of the booking.
    live: i64,
    // The row of an earlier try, if there is one.
    id: Option<i64>,
    provider_id: Option<i64>,
    user_id: Option<i64>,
    expires_at: Option<DateTime<Utc>>,
}

struct Earlier {
    id: i64,
    provider_id: i64,
    user_id: i64,
    expires_at: DateTime<Utc>,
}

impl State {
    fn earlier(&self) -> Option<Earlier> {
        let (id, provider_id, user_id, expires_at) = (self.id?, self.provider_id?, self.user_id?, self.expires_at?);
        Some(Earlier { id, provider_id, user_id, expires_at })
    }
}

/// One statement, for the round trips' sake. It also expires what is due of the therapist: else a row that nobody has swept yet
/// would block him by the unique index. Locked rows are being answered at this moment: they are left to whoever holds them.
async fn look(tx: &mut PgConnection, new: &NewOffer) -> Result<State, StoreError> {
    Ok(sqlx::query_as(
        "WITH due AS (
             UPDATE booking_offers SET status = 'expired'
             WHERE id IN (SELECT id FROM booking_offers
                          WHERE provider_id = $2 AND status = 'offered' AND expires_at <= clock_timestamp()
                          ORDER BY id FOR UPDATE SKIP LOCKED))
         SELECT clock.now, earlier.id, earlier.provider_id, earlier.user_id, earlier.expires_at,
                (SELECT count(*) FROM booking_offers
                 WHERE booking_id = $1 AND status = 'offered' AND expires_at > clock_timestamp()) AS live
         FROM (SELECT clock_timestamp() AS now) clock
         LEFT JOIN (SELECT o.id, o.provider_id, p.user_id, o.expires_at
                    FROM booking_offers o JOIN providers p ON p.id = o.provider_id
                    WHERE o.booking_id = $1 AND o.round = $3 AND o.rank = $4) earlier ON TRUE",
    )
    .bind(new.booking.0)
    .bind(new.provider.0)
    .bind(small(new.round))
    .bind(small(new.rank))
    .fetch_one(tx)
    .await?)
}

async fn known_as(tx: &mut PgConnection, row: Earlier, now: bool) -> Result<PersistOutcome, StoreError> {
    let (offer, expires_at) = (OfferId(row.id), from_chrono(row.expires_at));
    Ok(match live_offer_in(tx, offer).await? {
        Some(message) => {
            let (provider, user) = (ProviderId(row.provider_id), UserId(row.user_id));
            PersistOutcome::Offered(Box::new(Persisted { offer, provider, expires_at, user, now, message }))
        }
        None => PersistOutcome::Known { offer, provider: ProviderId(row.provider_id), expires_at },
    })
}

/// Rounds and ranks stay far below the column's limit: a search lasts minutes, a round names a handful.
fn small(n: u16) -> i16 {
    i16::try_from(n).unwrap_or(i16::MAX)
}

/// `None`: the therapist has a live offer, or this booking's round already asked him.
async fn insert(tx: &mut PgConnection, new: &NewOffer) -> Result<Option<(i64, DateTime<Utc>)>, StoreError> {
    Ok(sqlx::query_as(
        "INSERT INTO booking_offers
             (booking_id, provider_id, provider_type, booking_type, round, rank, distance_km, offered_at, expires_at)
         SELECT b.id, p.id, p.type, b.booking_type, $3, $4, $5, t.now, least($6, t.now + make_interval(secs => $7))
         FROM bookings b, providers p, (SELECT clock_timestamp() AS now) t
         WHERE b.id = $1 AND p.id = $2 AND t.now < $6
         ON CONFLICT DO NOTHING
         RETURNING id, expires_at",
    )
    .bind(new.booking.0)
    .bind(new.provider.0)
    .bind(small(new.round))
    .bind(small(new.rank))
    .bind(km_2(new.distance))
    .bind(to_chrono(new.until.min(new.deadline)))
    .bind((new.ttl + new.grace).as_secs_f64())
    .fetch_optional(tx)
    .await?)
}
