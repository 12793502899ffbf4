//! Integration tests: one binary, one private PostgreSQL cluster.
mod sim;
