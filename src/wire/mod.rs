//! The messages of the outside contract, as used by the server, the apps in [`crate::client`], the load tool and tests.

pub mod binary;
pub mod booking;
mod faults;
pub mod fix;
pub mod quick;
pub mod roster;
pub mod stream;
pub mod time;
pub mod trackers;
