//! Reviews: what customers say of providers, what these answer, what admins hide. The database's triggers keep the provider's
//! rating, under the lock of his row.

use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::StoreError;
use super::audit_logs::{self, Change};
use super::idempotency::{self, Key, Once};
use super::pages::{Ask, Rows};
use super::tx::{act_as, commit};
use crate::core::ids::{BookingId, ProviderId, UserId};
use crate::wire::time::WireTime;

/// A review, to whoever looks for somebody good. It says no more of its customer than his first name.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Review {
    /// `reviews.id`
    pub id: i64,
    /// Whom it is about.
    pub provider_uuid: Uuid,
    /// Of the customer; null once he has left.
    pub first_name: Option<String>,
    /// 1 to 5.
    #[schema(example = 5)]
    pub overall_rating: i32,
    /// 1 to 5.
    pub professionalism_rating: Option<i32>,
    /// 1 to 5.
    pub communication_rating: Option<i32>,
    /// 1 to 5.
    pub timeliness_rating: Option<i32>,
    /// 1 to 5.
    pub quality_rating: Option<i32>,
    /// In his words.
    pub comment: Option<String>,
    /// `["On-time", "Great technique"]`
    #[schema(value_type = Option<Vec<String>>)]
    pub tags: Option<serde_json::Value>,
    /// What the provider says to it.
    pub response: Option<String>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub responded_at: Option<WireTime>,
    /// False: an admin has hidden it; only admins see it, and it does not count.
    pub is_visible: bool,
    /// The same, until somebody has looked at it.
    pub is_flagged: bool,
    /// To admins: why it is flagged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flagged_reason: Option<String>,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
    #[serde(skip)]
    pub(crate) provider_id: i64,
    #[serde(skip)]
    pub(crate) reviewer_id: i64,
    #[serde(skip)]
    provider_gone: bool,
}

impl Review {
    /// Whose rating it is part of.
    pub fn provider(&self) -> ProviderId {
        ProviderId(self.provider_id)
    }

    /// As this user sees it, or an admin: what is hidden only its author does, and why only admins. `None`: not at all.
    pub fn shown_to(self, user: UserId, admin: bool) -> Option<Self> {
        let seen = admin || self.reviewer_id == user.0 || (self.is_visible && !self.is_flagged && !self.provider_gone);
        seen.then(|| Self { flagged_reason: self.flagged_reason.filter(|_| admin), ..self })
    }
}

/// The one SELECT of this file: reviews of providers; `$tail` says which.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT r.id, p.uuid AS provider_uuid, CASE WHEN u.deleted_at IS NULL THEN u.first_name END AS first_name,
                    r.overall_rating, r.professionalism_rating, r.communication_rating, r.timeliness_rating,
                    r.quality_rating, r.comment, r.tags, r.response, r.responded_at, r.is_visible, r.is_flagged,
                    r.flagged_reason, r.created_at, r.provider_id, r.reviewer_id, p.deleted_at IS NOT NULL AS provider_gone
             FROM reviews r JOIN providers p ON p.id = r.provider_id JOIN users u ON u.id = r.reviewer_id
             WHERE r.reviewer_type = 'customer' AND r.deleted_at IS NULL AND ",
            $tail
        )
    };
}

/// A page of a provider's reviews; `hidden`: those too that do not count.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn list(pool: &PgPool, provider: ProviderId, hidden: bool, ask: Ask) -> Result<Rows<Review>, StoreError> {
    let mut rows: Vec<Review> =
        sqlx::query_as(ask.of(select!("r.provider_id = $3 AND ($4 OR (r.is_visible AND NOT r.is_flagged))"), "r.id"))
            .bind(ask.bound())
            .bind(ask.limit())
            .bind(provider.0)
            .bind(hidden)
            .fetch_all(pool)
            .await?;
    if !hidden {
        rows.iter_mut().for_each(|review| review.flagged_reason = None);
    }
    Ok(ask.rows(rows))
}

/// A review of a provider, hidden or not.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn find(pool: &PgPool, id: i64) -> Result<Option<Review>, StoreError> {
    Ok(sqlx::query_as(select!("r.id = $1")).bind(id).fetch_optional(pool).await?)
}

/// What its customer says of a booking, hidden or not.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn of_booking(pool: &PgPool, booking: BookingId) -> Result<Option<Review>, StoreError> {
    Ok(sqlx::query_as(select!("r.booking_id = $1")).bind(booking.0).fetch_optional(pool).await?)
}

async fn by_id(tx: &mut PgConnection, id: i64) -> Result<Review, StoreError> {
    Ok(sqlx::query_as(select!("r.id = $1")).bind(id).fetch_one(tx).await?)
}

/// What a customer says. Ratings are 1 to 5.
#[derive(Clone, PartialEq, Debug)]
pub struct NewReview {
    /// Of which booking.
    pub booking: Uuid,
    /// Who says it.
    pub customer: UserId,
    /// In all.
    pub overall: i32,
    /// `professionalism_rating`
    pub professionalism: Option<i32>,
    /// `communication_rating`
    pub communication: Option<i32>,
    /// `timeliness_rating`
    pub timeliness: Option<i32>,
    /// `quality_rating`
    pub quality: Option<i32>,
    /// In his words.
    pub comment: Option<String>,
    /// Short words.
    pub tags: Option<Vec<String>>,
}

/// Why a review is not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReviewRefused {
    /// There is no such booking, or the asker is not its customer: nobody is told which.
    NotFound,
    /// It is not `completed` but this.
    NotCompleted(String),
    /// He has reviewed it.
    Again,
}

/// Keeps a review; the provider's rating follows in the same transaction.
///
/// # Errors
/// [`StoreError::Undecided`] when its commit was not answered.
pub async fn create(
    pool: &PgPool,
    new: &NewReview,
    key: Option<Key>,
) -> Result<Once<Review, ReviewRefused>, StoreError> {
    let mut begun = match idempotency::begin(pool, new.customer, key).await? {
        Ok(begun) => begun,
        Err(before) => return Ok(Once::Before(before)),
    };
    let tx = &mut *begun.tx;
    let booking: Option<(i64, String)> = sqlx::query_as(
        "SELECT id, status::text FROM bookings WHERE uuid = $1 AND customer_id = $2 AND deleted_at IS NULL",
    )
    .bind(new.booking)
    .bind(new.customer.0)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((booking, status)) = booking else { return Ok(Once::Refused(ReviewRefused::NotFound)) };
    // Nothing follows `completed`: the booking need not be locked.
    if status != "completed" {
        return Ok(Once::Refused(ReviewRefused::NotCompleted(status)));
    }
    let id = match insert(tx, booking, new).await {
        Err(error) if error.constraint() == Some("reviews_booking_id_reviewer_id_key") => {
            return Ok(Once::Refused(ReviewRefused::Again));
        }
        id => id?,
    };
    let review = by_id(tx, id).await?;
    begun.made(review.clone(), &review).await
}

async fn insert(tx: &mut PgConnection, booking: i64, new: &NewReview) -> Result<i64, StoreError> {
    // provider_id is the trigger's to fill.
    Ok(sqlx::query_scalar(
        "INSERT INTO reviews (booking_id, reviewer_id, reviewee_id, reviewer_type, overall_rating, professionalism_rating,
                              communication_rating, timeliness_rating, quality_rating, comment, tags)
         SELECT b.id, b.customer_id, p.user_id, 'customer', $2, $3, $4, $5, $6, $7, $8
         FROM bookings b JOIN providers p ON p.id = b.provider_id WHERE b.id = $1 RETURNING id",
    )
    .bind(booking)
    .bind(new.overall)
    .bind(new.professionalism)
    .bind(new.communication)
    .bind(new.timeliness)
    .bind(new.quality)
    .bind(&new.comment)
    .bind(new.tags.as_ref().map(|tags| serde_json::Value::from(tags.clone())))
    .fetch_one(tx)
    .await?)
}

/// What the reviewed provider says to a review, in place of what he said before. `None`: there is no such review that others
/// see, or it is not about him.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn respond(pool: &PgPool, id: i64, by: UserId, response: &str) -> Result<Option<Review>, StoreError> {
    let mut tx = pool.begin().await?;
    let done = sqlx::query(
        "UPDATE reviews r SET response = $3, responded_at = clock_timestamp() FROM providers p
         WHERE r.id = $1 AND p.id = r.provider_id AND p.user_id = $2 AND r.reviewer_type = 'customer'
           AND r.is_visible AND NOT r.is_flagged AND r.deleted_at IS NULL",
    )
    .bind(id)
    .bind(by.0)
    .bind(response)
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    let review = Review { flagged_reason: None, ..by_id(&mut tx, id).await? };
    commit(tx).await?;
    Ok(Some(review))
}

/// Whether a review is about this user, and another's: he has no say in whether it counts.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn is_about(pool: &PgPool, id: i64, user: UserId) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM reviews r JOIN providers p ON p.id = r.provider_id
                        WHERE r.id = $1 AND r.deleted_at IS NULL AND p.user_id = $2 AND r.reviewer_id <> $2)",
    )
    .bind(id)
    .bind(user.0)
    .fetch_one(pool)
    .await?)
}

/// Deletes a review softly: its author, or an admin, of whom it is noted; the provider's rating follows in the same transaction. Whose
/// that is; `None`: there is no such review, or it is another's.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn delete(pool: &PgPool, id: i64, by: UserId, admin: bool) -> Result<Option<ProviderId>, StoreError> {
    let mut tx = pool.begin().await?;
    act_as(&mut tx, Some(by)).await?;
    let gone: Option<(i64, i64, serde_json::Value)> = sqlx::query_as(
        "UPDATE reviews SET deleted_at = clock_timestamp()
         WHERE id = $1 AND reviewer_type = 'customer' AND deleted_at IS NULL AND (reviewer_id = $2 OR $3)
         RETURNING provider_id, reviewer_id, jsonb_build_object('overall_rating', overall_rating, 'comment', comment,
                   'is_visible', is_visible, 'is_flagged', is_flagged, 'flagged_reason', flagged_reason)",
    )
    .bind(id)
    .bind(by.0)
    .bind(admin)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((provider, reviewer, was)) = gone else { return Ok(None) };
    if reviewer != by.0 {
        let deleted = Change { by, action: "deleted", of: r"App\Models\Review", id, old: Some(was), new: None };
        audit_logs::write(&mut tx, deleted).await?;
    }
    commit(tx).await?;
    Ok(Some(ProviderId(provider)))
}

/// What an admin changes of a review; `None`: that stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Moderation {
    /// `is_visible`
    pub is_visible: Option<bool>,
    /// `is_flagged`
    pub is_flagged: Option<bool>,
    /// `flagged_reason`; `Some(None)` clears it.
    pub flagged_reason: Option<Option<String>>,
}

/// Hides a review or shows it again; the provider's rating follows in the same transaction. `None`: there is none.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn moderate(pool: &PgPool, id: i64, by: UserId, change: &Moderation) -> Result<Option<Review>, StoreError> {
    let mut tx = pool.begin().await?;
    act_as(&mut tx, Some(by)).await?;
    let before: Option<serde_json::Value> = sqlx::query_scalar(
        "SELECT jsonb_build_object('is_visible', is_visible, 'is_flagged', is_flagged, 'flagged_reason', flagged_reason)
         FROM reviews WHERE id = $1 AND reviewer_type = 'customer' AND deleted_at IS NULL FOR NO KEY UPDATE",
    )
    .bind(id)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(before) = before else { return Ok(None) };
    let after: serde_json::Value = sqlx::query_scalar(
        "UPDATE reviews SET is_visible = COALESCE($2, is_visible), is_flagged = COALESCE($3, is_flagged),
                            flagged_reason = CASE WHEN $4 THEN $5 ELSE flagged_reason END
         WHERE id = $1
         RETURNING jsonb_build_object('is_visible', is_visible, 'is_flagged', is_flagged, 'flagged_reason', flagged_reason)",
    )
    .bind(id)
    .bind(change.is_visible)
    .bind(change.is_flagged)
    .bind(change.flagged_reason.is_some())
    .bind(change.flagged_reason.as_ref().and_then(Option::as_ref))
    .fetch_one(&mut *tx)
    .await?;
    audit_logs::write(
        &mut tx,
        Change { by, action: "updated", of: r"App\Models\Review", id, old: Some(before), new: Some(after) },
    )
    .await?;
    let review = by_id(&mut tx, id).await?;
    commit(tx).await?;
    Ok(Some(review))
}
