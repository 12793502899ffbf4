//! Bookings and offers at a real database: who wins, what it costs, what the clock decides.

mod accept;
mod announced;
mod answers;
mod create;
mod decisions;
mod disconnected;
mod dispatcher;
mod in_store;
mod leases;
mod lost_commit;
mod moves;
mod policies;
mod prices;
mod reminders;
mod scheduled;
mod search;
mod tips;
mod wallet;
mod watch;
mod world;
