//! All SQL: one file per resource.

pub mod journal;
