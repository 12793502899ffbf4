//! A logged stretch of decisions, fed through the machine again: what would have changed under another policy?
//!
//! From the log come the bookings, who was a candidate when, and how therapists answered. What the log cannot tell is
//! assumed, and counted: a therapist who was never asked for a booking takes it after the usual time, and one who takes
//! another booking than he did is busy for [`JOB`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::seconds;
use crate::core::dispatch::{
    Decided, Decision, Dispatch, Effect, Found, Input, Job, NotPersisted, Rules, Seen, Standing,
};
use crate::core::geo::Meters;
use crate::core::ids::{BookingId, OfferId, ProviderId};
use crate::core::time::Timestamp;

/// A job of unknown length.
const JOB: Duration = Duration::from_secs(90 * 60);
/// An answer of unknown delay.
const USUAL: Duration = Duration::from_secs(5);
/// Between a question and its logged answer.
const SLACK: Duration = Duration::from_secs(1);
/// Who becomes a candidate so soon counts as one already, where nothing better is known.
const SOON: Duration = Duration::from_secs(60);

/// What became of one booking, and what would have.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Compared {
    /// `bookings.id`
    pub booking: BookingId,
    /// As logged.
    pub logged: Story,
    /// As replayed.
    pub replayed: Story,
}

/// A search, in short.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Story {
    /// Who was asked, in that order.
    pub asked: Vec<ProviderId>,
    /// Who took it.
    pub taken_by: Option<ProviderId>,
    /// From the beginning of the search to the accept, seconds.
    pub after_s: Option<f64>,
    /// His way as expected when he was found, seconds.
    pub travel_s: Option<f64>,
}

/// A replayed stretch.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Replay {
    /// By booking.
    pub bookings: Vec<Compared>,
    /// Answers that had to be assumed.
    pub assumed_answers: u32,
    /// Bookings that the log knows, but not how their search began: left out.
    pub left_out: u32,
}

/// A booking as the log tells it.
#[derive(Default)]
struct Known {
    search: Option<(Timestamp, Job)>,
    asked: Vec<(Timestamp, Meters, Vec<Seen>)>,
    answers: BTreeMap<ProviderId, Answer>,
    logged: Story,
}

#[derive(Clone, Copy)]
enum Answer {
    /// Offered at; no end is logged.
    Open(Timestamp),
    Yes(Duration),
    No(Duration),
    Nothing,
}

/// Replays `log` (in its order); `rules` says what a booking goes by, given what it went by, if that is logged.
pub fn replay(log: &[Decision], rules: impl Fn(Option<Rules>) -> Rules) -> Replay {
    let mut known: BTreeMap<BookingId, Known> = BTreeMap::new();
    for decision in log {
        learn(known.entry(decision.booking).or_default(), decision, &rules);
    }
    let left_out = known.values().filter(|booking| booking.search.is_none()).count() as u32;
    known.retain(|_, booking| booking.search.is_some());
    let mut world = World::new(&known);
    world.live();
    let (stories, assumed_answers) = (world.stories, world.assumed);
    let compared = |(booking, known): (BookingId, Known)| Compared {
        booking,
        logged: known.logged,
        replayed: stories.get(&booking).cloned().unwrap_or_default(),
    };
    Replay { bookings: known.into_iter().map(compared).collect(), assumed_answers, left_out }
}

fn learn(known: &mut Known, decision: &Decision, rules: &impl Fn(Option<Rules>) -> Rules) {
    let at = decision.at;
    match &decision.what {
        Decided::Searching { deadline, round, scheduled, chosen, excluded, rules: logged }
            if known.search.is_none() =>
        {
            let job = Job {
                booking: decision.booking,
                created_at: at,
                deadline: *deadline,
                scheduled: *scheduled,
                chosen: *chosen,
                rules: rules(*logged),
                excluded: excluded.iter().copied().collect(),
                silent: false,
                round: *round,
            };
            known.search = Some((at, job));
        }
        Decided::Asked { radius_m, found, .. } => known.asked.push((at, Meters::new(*radius_m), found.clone())),
        Decided::Offered { provider, .. } => {
            known.logged.asked.push(*provider);
            known.answers.insert(*provider, Answer::Open(at));
        }
        Decided::Declined { provider, .. } => answered(known, *provider, at, Answer::No),
        Decided::Expired { provider, .. } => answered(known, *provider, at, |_| Answer::Nothing),
        Decided::Accepted { provider } => {
            answered(known, *provider, at, Answer::Yes);
            if known.logged.taken_by.is_none() {
                known.logged.taken_by = Some(*provider);
                known.logged.after_s = known.search.as_ref().map(|(since, _)| seconds(*since, at));
                known.logged.travel_s = way(&known.asked, *provider);
            }
        }
        _ => {}
    }
}

fn answered(known: &mut Known, provider: ProviderId, at: Timestamp, answer: impl Fn(Duration) -> Answer) {
    if let Some(Answer::Open(since)) = known.answers.get(&provider).copied() {
        known.answers.insert(provider, answer(at.since(since)));
    }
}

fn way(asked: &[(Timestamp, Meters, Vec<Seen>)], provider: ProviderId) -> Option<f64> {
    let seen = asked.iter().rev().flat_map(|(_, _, found)| found).find(|seen| seen.provider == provider)?;
    Some(f64::from(seen.merit.travel_ms) / 1e3)
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Wanted(BookingId),
    Answer(BookingId, OfferId, ProviderId),
    Supply,
}

struct World<'a> {
    known: &'a BTreeMap<BookingId, Known>,
    machine: Dispatch,
    now: Timestamp,
    queue: BTreeSet<(Timestamp, u64, Event)>,
    events: u64,
    offers: i64,
    live: BTreeMap<OfferId, (BookingId, ProviderId)>,
    busy_until: BTreeMap<ProviderId, Timestamp>,
    /// When the log shows a therapist free: at each of these times he was a candidate.
    seen_at: BTreeMap<ProviderId, Vec<Timestamp>>,
    stories: BTreeMap<BookingId, Story>,
    assumed: u32,
}

impl<'a> World<'a> {
    fn new(known: &'a BTreeMap<BookingId, Known>) -> Self {
        let mut seen_at: BTreeMap<ProviderId, Vec<Timestamp>> = BTreeMap::new();
        let (mut queue, mut events) = (BTreeSet::new(), 0);
        for (&booking, known) in known {
            for (at, _, found) in &known.asked {
                for seen in found {
                    seen_at.entry(seen.provider).or_default().push(*at);
                }
                events += 1;
                queue.insert((*at, events, Event::Supply));
            }
            if let Some((at, _)) = &known.search {
                events += 1;
                queue.insert((*at, events, Event::Wanted(booking)));
            }
        }
        seen_at.values_mut().for_each(|times| times.sort_unstable());
        Self {
            known,
            machine: Dispatch::new(),
            now: Timestamp::from_micros(i64::MIN),
            queue,
            events,
            offers: 0,
            live: BTreeMap::new(),
            busy_until: BTreeMap::new(),
            seen_at,
            stories: BTreeMap::new(),
            assumed: 0,
        }
    }

    fn live(&mut self) {
        loop {
            let due = self.machine.next_deadline();
            let next = self.queue.first().map(|(at, ..)| *at);
            match (due, next) {
                (None, None) => return,
                (Some(due), next) if next.is_none_or(|next| due < next) => {
                    self.now = self.now.max(due);
                    self.machine.on_deadline(self.now);
                }
                _ => {
                    let Some((at, _, event)) = self.queue.pop_first() else { return };
                    self.now = self.now.max(at);
                    self.happen(event);
                }
            }
            while let Some(effect) = self.machine.poll_effect() {
                if let Some(input) = self.perform(effect) {
                    self.machine.handle(input, self.now);
                }
            }
        }
    }

    fn plan(&mut self, at: Timestamp, event: Event) {
        self.events += 1;
        self.queue.insert((at, self.events, event));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wanted(booking) => {
                if let Some((_, job)) = self.known.get(&booking).and_then(|known| known.search.as_ref()) {
                    self.machine.handle(Input::Wanted { job: job.clone(), live: Vec::new() }, self.now);
                }
            }
            Event::Supply => self.machine.handle(Input::SupplyAppeared, self.now),
            Event::Answer(booking, offer, provider) => {
                if self.live.remove(&offer).is_none() {
                    return;
                }
                match self.known.get(&booking).and_then(|known| known.answers.get(&provider)) {
                    Some(Answer::No(_)) => {
                        self.machine.handle(Input::Declined { booking, offer }, self.now);
                        self.machine.handle(Input::SupplyAppeared, self.now);
                    }
                    _ => self.taken(booking, provider),
                }
            }
        }
    }

    fn taken(&mut self, booking: BookingId, provider: ProviderId) {
        self.live.retain(|_, (of, _)| *of != booking);
        let known = &self.known[&booking];
        let story = self.stories.entry(booking).or_default();
        story.taken_by = Some(provider);
        story.after_s = known.search.as_ref().map(|(since, _)| seconds(*since, self.now));
        story.travel_s = way(&known.asked, provider);
        // As in the log, if he took the same one; else for as long as a job takes.
        let free_again = self.seen_at.get(&provider).and_then(|times| {
            let after = self.now.plus(SLACK);
            times.iter().find(|&&at| at > after).copied()
        });
        let until = match free_again {
            Some(at) if known.logged.taken_by == Some(provider) => at,
            _ => self.now.plus(JOB),
        };
        if !self.scheduled(booking) {
            self.busy_until.insert(provider, until);
            self.plan(until, Event::Supply);
        }
        self.machine.handle(Input::Accepted { booking, provider, set_out_by: None }, self.now);
    }

    /// For a time that was named: what therapists do now does not matter then.
    fn scheduled(&self, booking: BookingId) -> bool {
        self.known.get(&booking).and_then(|known| known.search.as_ref()).is_some_and(|(_, job)| job.scheduled)
    }

    fn free(&self, provider: ProviderId) -> bool {
        self.busy_until.get(&provider).is_none_or(|&until| until <= self.now)
            && !self.live.values().any(|(_, asked)| *asked == provider)
    }

    /// Who is near, as far as the log knows: of the answers up to now, else of those to come soon.
    fn near(&self, booking: BookingId, radius: Meters, exclude: &BTreeSet<ProviderId>) -> Vec<Found> {
        let Some(known) = self.known.get(&booking) else { return Vec::new() };
        let until = |limit: Timestamp| known.asked.iter().filter(move |(at, ..)| *at <= limit);
        let told = self.now.plus(SLACK);
        let enough = until(told).any(|(_, asked, _)| *asked >= radius);
        let limit = if enough { told } else { self.now.plus(SOON) };
        let mut found: BTreeMap<ProviderId, Found> = BTreeMap::new();
        for seen in until(limit).flat_map(|(_, _, found)| found) {
            let distance = Meters::new(seen.distance_m);
            let free = self.scheduled(booking) || self.free(seen.provider);
            if distance <= radius && !exclude.contains(&seen.provider) && free {
                let Seen { provider, merit, connected, .. } = *seen;
                found.insert(provider, Found { provider, distance, merit, connected });
            }
        }
        let mut list: Vec<_> = found.into_values().collect();
        list.sort_by(|a, b| a.distance.get().total_cmp(&b.distance.get()));
        list
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        Some(match effect {
            Effect::FindCandidates { booking, ask, radius, exclude, only } => {
                let mut list = self.near(booking, radius, &exclude);
                list.retain(|found| only.is_none_or(|only| only == found.provider));
                Input::Candidates { booking, ask, list }
            }
            Effect::PersistOffer { booking, ask, provider, ttl, grace, until, .. } => {
                if !self.free(provider) {
                    let why = NotPersisted::ProviderTaken;
                    return Some(Input::OfferNotPersisted { booking, ask, provider, why });
                }
                self.offers += 1;
                let offer = OfferId(self.offers);
                self.live.insert(offer, (booking, provider));
                self.stories.entry(booking).or_default().asked.push(provider);
                let answer = self.known.get(&booking).and_then(|known| known.answers.get(&provider));
                let takes = match answer {
                    Some(Answer::Yes(takes) | Answer::No(takes)) => Some(*takes),
                    Some(Answer::Nothing) => None,
                    // Withdrawn before he answered, or never asked.
                    Some(Answer::Open(_)) | None => {
                        self.assumed += 1;
                        Some(USUAL)
                    }
                };
                let expires_at = until.min(self.now.plus(ttl + grace));
                if let Some(at) = takes.map(|takes| self.now.plus(takes)).filter(|&at| at < expires_at) {
                    self.plan(at, Event::Answer(booking, offer, provider));
                }
                Input::OfferPersisted { booking, ask, provider, offer, expires_at }
            }
            Effect::ExpireOffer { booking, offer } => {
                self.live.remove(&offer);
                self.machine.handle(Input::Expired { booking, offer }, self.now);
                Input::SupplyAppeared
            }
            Effect::EndBooking { booking, .. } => {
                self.live.retain(|_, (of, _)| *of != booking);
                Input::Ended { booking }
            }
            Effect::Release { booking } => Input::Ended { booking },
            Effect::Reload { booking, ask } => Input::Loaded { booking, ask, standing: Box::new(Standing::Settled) },
            Effect::Log(_) => return None,
        })
    }
}

impl Replay {
    /// Bookings that went another way.
    pub fn changed(&self) -> impl Iterator<Item = &Compared> {
        self.bookings.iter().filter(|b| b.logged.taken_by != b.replayed.taken_by || b.logged.asked != b.replayed.asked)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out =
            String::from("| | taken | offers/booking | accept mean s | travel mean s |\n|---|---:|---:|---:|---:|\n");
        for (name, story) in [("logged", (|b| &b.logged) as fn(&Compared) -> &Story), ("replayed", |b| &b.replayed)] {
            let all: Vec<_> = self.bookings.iter().map(story).collect();
            let mean = |value: fn(&Story) -> Option<f64>| {
                let values: Vec<_> = all.iter().filter_map(|story| value(story)).collect();
                values.iter().sum::<f64>() / values.len().max(1) as f64
            };
            let taken = all.iter().filter(|story| story.taken_by.is_some()).count();
            let offers: usize = all.iter().map(|story| story.asked.len()).sum();
            let offers = offers as f64 / all.len().max(1) as f64;
            let (wait, way) = (mean(|s| s.after_s), mean(|s| s.travel_s));
            out += &format!("| {name} | {taken} of {} | {offers:.2} | {wait:.1} | {way:.0} |\n", all.len());
        }
        let said = |story: &Story| {
            let asked: Vec<_> = story.asked.iter().map(ToString::to_string).collect();
            let end = story.taken_by.map_or_else(|| "nobody took it".to_owned(), |who| format!("{who} took it"));
            format!("asked {}, {end}", if asked.is_empty() { "nobody".to_owned() } else { asked.join(" ") })
        };
        out += &format!(
            "\n{} of {} bookings would have gone another way; {} answers assumed, {} bookings left out\n",
            self.changed().count(),
            self.bookings.len(),
            self.assumed_answers,
            self.left_out
        );
        for b in self.changed() {
            out += &format!("booking {}: {}; would have {}\n", b.booking, said(&b.logged), said(&b.replayed));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::dispatch::Policy;
    use crate::core::settings::Settings;
    use crate::simulate::demand::manila;
    use crate::simulate::run::{Behaviour, Scenario, run_logged};

    /// A quarter of an hour of a busy evening: nobody finishes a job in it, so that the log tells all there is.
    fn stretch(rules: Rules) -> Vec<Decision> {
        let mut demand = manila(None, 6_000, 3).expect("built in");
        demand.wishes.retain(|wish| (0..900).contains(&(wish.at.micros() / 1_000_000 % 86_400 - 12 * 3_600)));
        let behaviour = Behaviour { travel_noise: 0.0, ..Behaviour::default() };
        let scenario = Scenario { therapists: 300, behaviour, patience: Duration::from_secs(300), seed: 3 };
        let (_, log) = run_logged(&demand, &scenario, rules);
        assert!(log.iter().filter(|d| matches!(d.what, Decided::Accepted { .. })).count() > 50);
        log
    }

    fn standard(policy: Policy) -> Rules {
        Rules { policy, ..Settings::default().dispatch.rules("", None, Meters::from_km(20.0)) }
    }

    #[test]
    fn the_same_policy_decides_the_same() {
        for policy in [Policy::Sequential, Policy::Batched { window: Duration::from_secs(2) }] {
            let replayed = replay(&stretch(standard(policy)), |logged| logged.expect("logged"));
            let changed: Vec<_> = replayed.changed().collect();
            assert!(changed.is_empty(), "{policy:?}: {changed:#?}");
            assert_eq!(replayed.left_out, 0);
        }
    }

    #[test]
    fn another_policy_decides_otherwise_and_says_what_it_assumed() {
        let other = standard(Policy::Broadcast { width: 3, stagger: Duration::ZERO });
        let replayed = replay(&stretch(standard(Policy::Sequential)), |_| other);
        assert!(replayed.changed().count() > 10);
        assert!(replayed.assumed_answers > 0);
        assert!(replayed.text().contains("would have gone another way"));
    }

    #[test]
    fn a_booking_whose_beginning_is_not_logged_is_left_out() {
        let log = stretch(standard(Policy::Sequential));
        let first = log[0].booking;
        let beheaded: Vec<_> = log
            .iter()
            .filter(|d| d.booking != first || !matches!(d.what, Decided::Searching { .. }))
            .cloned()
            .collect();
        assert_eq!(replay(&beheaded, |logged| logged.expect("logged")).left_out, 1);
    }
}
