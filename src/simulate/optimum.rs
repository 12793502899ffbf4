//! The gap to who knows the future: the assignment of all bookings of an instance to all therapists at once.
//!
//! An instance is short enough that nobody takes a second booking, everybody says yes at once, and ways take as long as
//! expected: then the best that anybody could do is one least-cost assignment over all of it, with the travel time of
//! each pair at the time of the booking, and no waiting at all. What a policy needs more is its gap.

use std::time::Duration;

use serde::Serialize;

use super::demand::{Demand, Wish, manila};
use super::measure::Outcome;
use super::run::{Behaviour, Scenario, run};
use super::town::Town;
use crate::core::assignment::{Edge, assign};
use crate::core::dispatch::Rules;
use crate::core::time::Timestamp;
use crate::core::travel::travel_time;

/// Bookings and therapists of an instance, and the time in which the bookings are made.
const BOOKINGS: usize = 60;
const THERAPISTS: usize = 80;
const WITHIN: Duration = Duration::from_secs(600);

/// How far policies are from the optimum.
#[derive(Clone, Debug, Serialize)]
pub struct Gap {
    /// Which.
    pub policy: String,
    /// Instances that were compared.
    pub instances: u64,
    /// Mean time from request to arrival over that of the optimum, minus 1, over the instances: mean.
    pub to_arrival: f64,
    /// The largest of an instance.
    pub to_arrival_worst: f64,
    /// The same for travel alone, without waiting: mean.
    pub travel: f64,
    /// Share of the optimum's pairs that were made.
    pub matched: f64,
}

/// Plays `instances` under each policy, and solves them with hindsight.
///
/// # Errors
/// When the built-in places cannot be drawn from.
pub fn gaps(policies: &[(String, Rules)], instances: u64, seed: u64) -> anyhow::Result<Vec<Gap>> {
    let scenario = |seed| Scenario {
        therapists: THERAPISTS,
        behaviour: Behaviour::EAGER,
        patience: Duration::from_secs(300),
        seed,
    };
    let demands = (0..instances).map(|n| instance(seed + n)).collect::<anyhow::Result<Vec<_>>>()?;
    let best: Vec<_> =
        demands.iter().enumerate().map(|(n, demand)| optimum(demand, &scenario(seed + n as u64))).collect();
    let mut gaps = Vec::new();
    for (policy, rules) in policies {
        let mut gap = Gap {
            policy: policy.clone(),
            instances,
            to_arrival: 0.0,
            to_arrival_worst: 0.0,
            travel: 0.0,
            matched: 0.0,
        };
        for (n, (demand, best)) in demands.iter().zip(&best).enumerate() {
            let Outcome { journeys, .. } = &run(demand, &scenario(seed + n as u64), *rules);
            let matched = journeys.iter().filter(|journey| journey.accepted_at.is_some()).count();
            let mean = |sum: f64| sum / matched.max(1) as f64 / best.1 - 1.0;
            let waited = journeys.iter().filter_map(|j| Some(super::seconds(j.requested_at, j.arrived_at?)));
            let to_arrival = mean(waited.sum());
            gap.to_arrival += to_arrival / instances as f64;
            gap.to_arrival_worst = gap.to_arrival_worst.max(to_arrival);
            gap.travel += mean(journeys.iter().map(|journey| journey.travel_s).sum()) / instances as f64;
            gap.matched += matched as f64 / best.0.max(1) as f64 / instances as f64;
        }
        gaps.push(gap);
    }
    Ok(gaps)
}

/// A town's bookings of ten minutes; each lasts longer than that.
fn instance(seed: u64) -> anyhow::Result<Demand> {
    let mut demand = manila(None, BOOKINGS, seed)?;
    let start = demand.wishes.first().map_or(Timestamp::from_micros(0), |wish| wish.at);
    for (n, wish) in demand.wishes.iter_mut().enumerate() {
        let share = super::chance(seed, [6, n as u64, 0]);
        *wish = Wish { at: start.plus(WITHIN.mul_f64(share)), service: Duration::from_secs(4 * 3_600), ..*wish };
    }
    demand.wishes.sort_by_key(|wish| (wish.at, wish.place));
    Ok(demand)
}

/// Pairs, and mean travel seconds, of the best assignment with hindsight.
fn optimum(demand: &Demand, scenario: &Scenario) -> (usize, f64) {
    let start = demand.wishes.first().map_or(Timestamp::from_micros(0), |wish| wish.at);
    let town = Town::new(demand, scenario.therapists, scenario.behaviour, scenario.seed, start);
    let places: Vec<_> = town.fleet.snapshot().into_iter().filter_map(|(_, shown)| Some(shown?.0)).collect();
    let rows: Vec<Vec<Edge>> = demand
        .wishes
        .iter()
        .map(|wish| {
            let cost = |place| i64::try_from(travel_time(place, wish.place, wish.at).as_millis()).unwrap_or(i64::MAX);
            places.iter().enumerate().map(|(column, &place)| Edge { column, cost: cost(place) }).collect()
        })
        .collect();
    let best = assign(places.len(), &rows);
    (best.pairs(), best.cost as f64 / 1e3 / best.pairs().max(1) as f64)
}
