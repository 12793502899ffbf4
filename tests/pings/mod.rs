//! Pings from the socket to the table: nothing is acked that is not committed, nothing is lost, nobody waits for a
//! stranger's mistake.

mod desk;
mod frames;
mod full;
mod journal;
mod limits;
mod months;
mod outage;
mod queue;
mod requests;
mod socket;
mod unread;
