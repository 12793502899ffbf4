//! The moves that people ask for: on the way, there, begun, done, called off, given back.

use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::lock::{Locked, id_of, lock};
use super::system::{Anew, INSUFFICIENT_BALANCE, cancel_pending, give_back};
use super::view::{BookingView, view_by_id};
use super::visit::{self, Answer, VisitRefused};
use crate::core::booking::{self, Circumstances, Kind, Move, Refusal, Status};
use crate::core::ids::{BookingId, ProviderId, UserId};
use crate::core::pricing::{CancelledBy, cancellation_fee};
use crate::core::settings::{CancellationPolicy, Settings};
use crate::store::offers::{ClosedOffer, withdraw};
use crate::store::tx::{begin_move, clock, commit};
use crate::store::{StoreError, promos, wallets};
use crate::wire::time::from_chrono;

/// Who asks for a move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Actor {
    /// Whose token it is.
    pub user: UserId,
    /// An admin may move what is not his.
    pub admin: bool,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Which booking.
    pub booking: Uuid,
    /// By whom.
    pub actor: Actor,
    /// To become what.
    pub to: Status,
    /// In the asker's words; kept with a cancellation and a give-back.
    pub reason: Option<String>,
}

/// The settings that a move goes by, as they stand now.
#[derive(Clone, PartialEq, Debug)]
pub struct MoveRules {
    /// What a cancellation costs.
    pub cancellation: CancellationPolicy,
    /// How a booking that is given back is searched for.
    pub anew: Anew,
}

impl From<&Settings> for MoveRules {
    fn from(settings: &Settings) -> Self {
        Self { cancellation: settings.cancellation_policy.clone(), anew: settings.into() }
    }
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum TransitionOutcome {
    /// Made, committed.
    Moved(Box<Moved>),
    /// It has that status already: nothing was done.
    Unchanged(Box<BookingView>),
    /// Not by this one, or not now.
    Refused {
        /// Why.
        why: Refusal,
        /// As it is.
        status: Status,
    },
    /// The owner may, but the store cannot: it stays `pending`.
    StoreCannot(VisitRefused),
    /// The owner may, but the customer's wallet holds too little by now: it was cancelled, committed.
    Unpaid(Box<Moved>),
    /// There is none, or it is not the asker's: nobody is told which.
    NotFound,
}

/// A move that was made.
#[derive(Clone, Debug)]
pub struct Moved {
    /// As it was.
    pub from: Status,
    /// As it is.
    pub to: Status,
    /// The booking as it stands.
    pub view: BookingView,
    /// Who had it before the move (a booking that is given back has nobody after it).
    pub had_it: Option<(ProviderId, UserId)>,
    /// Offers that were live until now.
    pub closed: Vec<ClosedOffer>,
}

/// Moves a booking as [`booking::may`] allows, by the status that it has under its lock and by the database's clock.
///
/// Accepted (by a store's owner; therapists accept offers) takes a room; completed keeps the provider's totals; cancelled
/// keeps who, why and the fee, withdraws offers and gives the promo code's use back; given back (`pending`) starts the
/// search anew. All in one transaction.
pub async fn transition(pool: &PgPool, wish: &Wish, rules: &MoveRules) -> Result<TransitionOutcome, StoreError> {
    let mut tx = begin_move(pool, Some(wish.actor.user)).await?;
    let Some(id) = id_of(&mut tx, wish.booking).await? else { return Ok(TransitionOutcome::NotFound) };
    let Some(row) = lock(&mut tx, id).await? else { return Ok(TransitionOutcome::NotFound) };
    let had_it = match row.provider_id {
        Some(provider) => Some((ProviderId(provider), provider_user(&mut tx, provider).await?)),
        None => None,
    };
    let Some(role) = role(&row, wish.actor, had_it) else {
        if wish.to == Status::Pending && row.status == "pending" && gave_back(&mut tx, id, wish.actor.user).await? {
            let view = view_by_id(&mut tx, id).await?.ok_or(sqlx::Error::RowNotFound)?;
            return Ok(TransitionOutcome::Unchanged(Box::new(view)));
        }
        return Ok(TransitionOutcome::NotFound);
    };
    let (from, kind) = (parsed_status(&row)?, parsed_kind(&row)?);
    let now = clock(&mut tx).await?;
    let circumstances = Circumstances {
        now: from_chrono(now),
        arrived_at: arrived_at(&mut tx, &row).await?.map(from_chrono),
        booked_for: visit::booked_for(&row),
        reason: wish.reason.as_deref(),
        by_offer: false,
    };
    let what = match booking::may(role, kind, from, wish.to, &circumstances) {
        Ok(Move::Unchanged) => {
            let view = view_by_id(&mut tx, id).await?.ok_or(sqlx::Error::RowNotFound)?;
            return Ok(TransitionOutcome::Unchanged(Box::new(view)));
        }
        Ok(what) => what,
        Err(why) => return Ok(TransitionOutcome::Refused { why, status: from }),
    };
    let mut closed = Vec::new();
    match wish.to {
        Status::Pending => {
            give_back(&mut tx, &row, now, wish.reason.as_deref().unwrap_or("given_back"), &rules.anew).await?
        }
        Status::Cancelled => {
            closed = withdraw(&mut tx, id, None).await?;
            let by = cancelled_by(role, what);
            cancel(&mut tx, &row, by, wish, &rules.cancellation, now).await?;
        }
        Status::Completed => complete(&mut tx, &row, now).await?,
        Status::Accepted => match visit::accept(&mut tx, &row).await? {
            Answer::Taken => {}
            Answer::Refused(why) => return Ok(TransitionOutcome::StoreCannot(why)),
            Answer::Unpaid => {
                let (view, closed) = cancel_pending(&mut tx, id, INSUFFICIENT_BALANCE, now).await?;
                commit(tx).await?;
                let ended = Moved { from, to: Status::Cancelled, view, had_it, closed };
                return Ok(TransitionOutcome::Unpaid(Box::new(ended)));
            }
        },
        Status::NoShow => visit::no_show(&mut tx, &row, &rules.cancellation, now).await?,
        to => match set_status(&mut tx, &row, to, now).await {
            Err(error) if error.constraint() == Some("uq_bookings_one_active_per_therapist") => {
                return Ok(TransitionOutcome::Refused { why: Refusal::OnAnotherBooking, status: from });
            }
            made => made?,
        },
    }
    let view = view_by_id(&mut tx, id).await?.ok_or(sqlx::Error::RowNotFound)?;
    commit(tx).await?;
    Ok(TransitionOutcome::Moved(Box::new(Moved { from, to: wish.to, view, had_it, closed })))
}

/// Whether this person gave the booking back earlier: he may not have heard that he is rid of it.
async fn gave_back(tx: &mut PgConnection, booking: BookingId, user: UserId) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM booking_offers o JOIN providers p ON p.id = o.provider_id
                        WHERE o.booking_id = $1 AND o.status = 'released' AND p.user_id = $2)",
    )
    .bind(booking.0)
    .bind(user.0)
    .fetch_one(tx)
    .await?)
}

/// As what the asker acts on this booking; `None`: it is not his. A therapist is a party once he has accepted: until then
/// he answers the offer.
fn role(row: &Locked, actor: Actor, had_it: Option<(ProviderId, UserId)>) -> Option<booking::Actor> {
    if row.customer_id == actor.user.0 {
        return Some(booking::Actor::Customer);
    }
    let owns = had_it.is_some_and(|(_, user)| user == actor.user);
    match row.r#type.as_str() {
        "in_store" if owns => Some(booking::Actor::StoreOwner),
        "home_service" if owns && row.accepted_at.is_some() => Some(booking::Actor::Provider),
        _ => actor.admin.then_some(booking::Actor::Admin),
    }
}

fn parsed_status(row: &Locked) -> Result<Status, StoreError> {
    Status::parse(&row.status).ok_or_else(|| StoreError::Corrupt {
        column: "bookings.status",
        value: row.status.clone(),
        allowed: "the words of booking_status",
    })
}

fn parsed_kind(row: &Locked) -> Result<Kind, StoreError> {
    Kind::parse(&row.r#type).ok_or_else(|| StoreError::Corrupt {
        column: "bookings.type",
        value: row.r#type.clone(),
        allowed: "home_service, in_store",
    })
}

fn cancelled_by(role: booking::Actor, what: Move) -> CancelledBy {
    match role {
        booking::Actor::Customer => CancelledBy::Customer,
        _ if what == Move::CustomerAbsent => CancelledBy::ProviderCustomerAbsent,
        booking::Actor::Provider | booking::Actor::StoreOwner => CancelledBy::Provider,
        booking::Actor::Admin => CancelledBy::Admin,
        booking::Actor::System => CancelledBy::System,
    }
}

async fn provider_user(tx: &mut PgConnection, provider: i64) -> Result<UserId, StoreError> {
    let user: i64 =
        sqlx::query_scalar("SELECT user_id FROM providers WHERE id = $1").bind(provider).fetch_one(tx).await?;
    Ok(UserId(user))
}

/// Since when it is `arrived`: the history knows.
async fn arrived_at(tx: &mut PgConnection, row: &Locked) -> Result<Option<DateTime<Utc>>, StoreError> {
    if row.status != "arrived" {
        return Ok(None);
    }
    Ok(sqlx::query_scalar(
        "SELECT max(created_at) FROM booking_status_history WHERE booking_id = $1 AND to_status = 'arrived'",
    )
    .bind(row.id)
    .fetch_one(tx)
    .await?)
}

/// Times are written by the clock after the lock, not by the trigger's `now()`, which is before it.
async fn set_status(tx: &mut PgConnection, row: &Locked, to: Status, now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE bookings SET status = $3::booking_status,
                started_at = CASE WHEN $3 = 'in_progress' THEN $4 ELSE started_at END,
                -- At a store the room is taken for the whole of the service from when it really begins.
                busy_during = CASE WHEN $3 = 'in_progress' AND type = 'in_store'
                    THEN tstzrange($4, $4 + make_interval(mins => duration_minutes), '[)') ELSE busy_during END
         WHERE id = $1 AND status = $2::booking_status",
    )
    .bind(row.id)
    .bind(&row.status)
    .bind(to.as_str())
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}

/// Done: the provider's totals count it in the same transaction, so that they are never twice or not at all counted.
async fn complete(tx: &mut PgConnection, row: &Locked, now: DateTime<Utc>) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE bookings SET status = 'completed', completed_at = $2 WHERE id = $1 AND status = 'in_progress'",
    )
    .bind(row.id)
    .bind(now)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if done == 1 {
        sqlx::query(
            "UPDATE providers SET total_bookings = total_bookings + 1, total_earnings = total_earnings + $2 WHERE id = $1",
        )
        .bind(row.provider_id)
        .bind(row.provider_earnings + row.tip_amount)
        .execute(&mut *tx)
        .await?;
        if row.promo_code_id.is_some() {
            promos::give_back_unused(tx, BookingId(row.id)).await?;
        }
    }
    Ok(())
}

async fn cancel(
    tx: &mut PgConnection,
    row: &Locked,
    by: CancelledBy,
    wish: &Wish,
    policy: &CancellationPolicy,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let fee = cancellation_fee(policy, &row.cancellation(by), from_chrono(now));
    sqlx::query(
        "UPDATE bookings SET status = 'cancelled', cancelled_at = $3, cancelled_by = $4, cancellation_reason = $5,
                cancellation_fee = $6
         WHERE id = $1 AND status = $2::booking_status",
    )
    .bind(row.id)
    .bind(&row.status)
    .bind(now)
    .bind(wish.actor.user.0)
    .bind(&wish.reason)
    .bind(fee.decimal())
    .execute(&mut *tx)
    .await?;
    wallets::refund(tx, BookingId(row.id), fee).await?;
    promos::give_back(tx, BookingId(row.id)).await
}
