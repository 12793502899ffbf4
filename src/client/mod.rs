//! The two apps, as far as the service can tell them from real ones: websockets and HTTP, reconnects with a jittered
//! backoff, every fix kept until it is acked. The demo, the load tool and the tests drive the service with them.
//!
//! - [`Api`]: the HTTP side of either app.
//! - [`therapist`]: sends fixes, shows offers, answers them by a given rule, moves the bookings it wins to their end.
//! - [`customer`]: hears of its bookings and of the therapist who is on the way.
//!
//! Nothing here reads the database or shares state with the server.

mod api;
mod backoff;
pub mod customer;
mod messages;
mod outbox;
mod socket;
pub mod therapist;
mod walker;

pub use api::{Api, ApiError, NewBooking};
pub use backoff::Backoff;
pub use messages::{
    Area, BookingSeen, Incoming, Offer, OfferedBooking, PlaceSeen, PositionSeen, ProviderSeen, ServiceSeen,
};
pub use outbox::{Acked, Outbox};
pub use socket::{ConnectError, Endpoint, Goodbye, Wire};
pub use walker::Walker;

/// What wants to go on, cut short by the app's end.
pub use tokio_util::sync::CancellationToken;
