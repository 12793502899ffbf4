//! Typed ids: a booking's id cannot be passed where a therapist's is wanted.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// `users.id`: customers, therapists (as people), store owners, admins.
    UserId,
    /// `providers.id`: a therapist or a store.
    ProviderId,
    /// `services.id`.
    ServiceId,
    /// `bookings.id`.
    BookingId,
    /// `booking_offers.id`.
    OfferId,
    /// `messages.id`.
    MessageId,
}
