//! The pure core: no clock, no socket, no database, no global randomness. Inputs and `now` go in, answers and effects
//! come out; the same inputs give the same outputs, byte for byte.

pub mod assignment;
pub mod booking;
pub mod dispatch;
pub mod fleet;
pub mod geo;
pub mod heat;
pub mod hundredths;
pub mod ids;
pub mod matching;
pub mod money;
pub mod offerings;
pub mod people;
pub mod phone;
pub mod pricing;
pub mod schedule;
pub mod scheduling;
pub mod settings;
pub mod slot;
pub mod stores;
pub mod time;
pub mod track;
pub mod travel;
