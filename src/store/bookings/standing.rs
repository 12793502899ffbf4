//! Where bookings stand, as the dispatch machine asks: at the start, and whenever it is in doubt.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::types::chrono::{DateTime, Utc};

use super::create::NewBooking;
use super::lease::NodeId;
use super::lock::set_out_from;
use super::view::BookingView;
use crate::core::booking::Kind;
use crate::core::dispatch::{Job, LiveOffer, Rules, Standing};
use crate::core::geo::{LatLng, Meters};
use crate::core::ids::{BookingId, OfferId, ProviderId};
use crate::core::settings::{DispatchSettings, Settings};
use crate::store::StoreError;
use crate::wire::time::from_chrono;

/// The settings that searches go by.
#[derive(Clone, PartialEq, Debug)]
pub struct SearchRules {
    /// How offers are made, by service and place.
    pub dispatch: DispatchSettings,
    /// `service_radius_max`
    pub radius_max: Meters,
    /// `booking_timeout.accepted`
    pub set_out_within: Duration,
}

impl From<&Settings> for SearchRules {
    fn from(settings: &Settings) -> Self {
        Self {
            dispatch: settings.dispatch.clone(),
            radius_max: Meters::from_km(settings.service_radius_max_km.into()),
            set_out_within: Duration::from_secs(settings.booking_timeout.accepted.into()),
        }
    }
}

impl SearchRules {
    /// Those of a booking of `service` (a slug) at `place`.
    fn of(&self, scheduled: bool, service: &str, place: Option<LatLng>) -> Rules {
        let of = if scheduled { DispatchSettings::scheduled_rules } else { DispatchSettings::rules };
        of(&self.dispatch, service, place, self.radius_max)
    }

    /// What [`standing`] would say of a booking that was made a moment ago, of which nobody has been asked: as it was written and
    /// is shown. `None`: it is not searched for, its store is asked.
    pub fn job_of_new(&self, new: &NewBooking, view: &BookingView) -> Option<Job> {
        let scheduled = new.scheduled_at.is_some();
        let created_at = view.booking.created_at.0;
        (new.kind == Kind::HomeService).then(|| Job {
            booking: view.id,
            created_at,
            deadline: created_at.plus(Duration::from_secs(new.dispatch_timeout_s.into())),
            chosen: new.chosen,
            scheduled,
            rules: self.of(scheduled, &view.booking.service.slug, view.place),
            excluded: BTreeSet::new(),
            silent: false,
            round: 1,
        })
    }
}

/// One SELECT: a booking with its offers, in one snapshot. `$tail`: which bookings.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT b.id, b.status::text AS status, b.provider_id, b.created_at, ",
            set_out_from!("b."),
            " AS set_out_from, b.created_at + make_interval(secs => b.dispatch_timeout_s) AS deadline,
                    b.type = 'home_service' AND b.deleted_at IS NULL AS dispatched, b.booking_type = 'scheduled' AS scheduled,
                    b.type = 'in_store' AND b.status = 'pending' AND b.deleted_at IS NULL AS asks_store,
                    s.slug AS service, l.latitude::float8 AS latitude, l.longitude::float8 AS longitude,
                    COALESCE(o.excluded, '{}') AS excluded, COALESCE(o.silent, FALSE) AS silent,
                    COALESCE(o.last_round, 0) AS last_round,
                    COALESCE(live.ids, '{}') AS live_ids, COALESCE(live.providers, '{}') AS live_providers,
                    COALESCE(live.expiries, '{}') AS live_expiries
             FROM bookings b
             JOIN services s ON s.id = b.service_id
             LEFT JOIN booking_locations l ON l.booking_id = b.id
             LEFT JOIN LATERAL (
                 -- Withdrawn because somebody else was faster is no answer: he may be asked when that one gives it back.
                 SELECT array_agg(DISTINCT provider_id) FILTER (WHERE status IN ('declined', 'expired', 'released', 'accepted')
                            OR (status = 'withdrawn' AND NOT EXISTS (
                                SELECT 1 FROM booking_offers winner
                                WHERE winner.booking_id = b.id AND winner.round = lost.round
                                  AND winner.status = 'released' AND winner.responded_at >= lost.offered_at))) AS excluded,
                        (array_agg(status ORDER BY id DESC) FILTER (WHERE provider_id = b.provider_id))[1] = 'expired' AS silent,
                        max(round)::int AS last_round
                 FROM booking_offers lost WHERE booking_id = b.id) o ON TRUE
             LEFT JOIN LATERAL (
                 SELECT array_agg(id ORDER BY id) AS ids, array_agg(provider_id ORDER BY id) AS providers,
                        array_agg(expires_at ORDER BY id) AS expiries
                 FROM booking_offers
                 WHERE booking_id = b.id AND status = 'offered') live ON TRUE ",
            $tail
        )
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    status: String,
    provider_id: Option<i64>,
    created_at: DateTime<Utc>,
    set_out_from: Option<DateTime<Utc>>,
    deadline: DateTime<Utc>,
    dispatched: bool,
    scheduled: bool,
    asks_store: bool,
    excluded: Vec<i64>,
    silent: bool,
    last_round: i32,
    service: String,
    latitude: Option<f64>,
    longitude: Option<f64>,
    live_ids: Vec<i64>,
    live_providers: Vec<i64>,
    live_expiries: Vec<DateTime<Utc>>,
}

impl Row {
    fn standing(&self, search: &SearchRules) -> Standing {
        match (self.status.as_str(), self.provider_id) {
            _ if self.asks_store => Standing::Store { deadline: from_chrono(self.deadline) },
            _ if !self.dispatched => Standing::Settled,
            ("pending", chosen) => Standing::Pending {
                job: Job {
                    booking: BookingId(self.id),
                    created_at: from_chrono(self.created_at),
                    deadline: from_chrono(self.deadline),
                    chosen: chosen.map(ProviderId),
                    scheduled: self.scheduled,
                    rules: self.rules(search),
                    excluded: self.excluded.iter().copied().map(ProviderId).collect::<BTreeSet<_>>(),
                    silent: self.silent,
                    round: u16::try_from(self.last_round).unwrap_or(0) + 1, // a SMALLINT that its CHECK keeps >= 1
                },
                live: self.live(),
            },
            ("accepted", Some(provider)) => Standing::Accepted {
                provider: ProviderId(provider),
                set_out_by: self.set_out_from.map(|at| from_chrono(at).plus(search.set_out_within)),
            },
            _ => Standing::Settled,
        }
    }

    fn rules(&self, search: &SearchRules) -> Rules {
        search.of(self.scheduled, &self.service, self.place())
    }

    fn place(&self) -> Option<LatLng> {
        LatLng::new(self.latitude?, self.longitude?).ok()
    }

    fn live(&self) -> Vec<LiveOffer> {
        let offers = self.live_ids.iter().zip(&self.live_providers).zip(&self.live_expiries);
        let live = |((&id, &provider), &expires_at): ((&i64, &i64), &DateTime<Utc>)| LiveOffer {
            provider: ProviderId(provider),
            offer: OfferId(id),
            expires_at: from_chrono(expires_at),
        };
        offers.map(live).collect()
    }
}

/// Where one booking stands, in one snapshot.
pub async fn standing(pool: &PgPool, booking: BookingId, search: &SearchRules) -> Result<Standing, StoreError> {
    let row: Option<Row> = sqlx::query_as(select!("WHERE b.id = $1")).bind(booking.0).fetch_optional(pool).await?;
    Ok(row.map_or(Standing::Settled, |row| row.standing(search)))
}

/// Every booking that dispatch has to do with, in the order they were made: pending ones with their live offers, those
/// that ask a store, and accepted ones whose therapist has not set out (of scheduled ones that may be weeks ahead). Of
/// pending ones those that `node` drives.
pub async fn unsettled(
    pool: &PgPool,
    search: &SearchRules,
    node: NodeId,
) -> Result<Vec<(BookingId, Standing)>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(select!(
        "WHERE b.status IN ('pending', 'accepted') AND (b.type = 'home_service' OR b.status = 'pending')
           AND (b.status <> 'pending' OR b.lease_owner = $1)
           AND b.deleted_at IS NULL ORDER BY b.created_at, b.id"
    ))
    .bind(node.0)
    .fetch_all(pool)
    .await?;
    Ok(rows.iter().map(|row| (BookingId(row.id), row.standing(search))).collect())
}
