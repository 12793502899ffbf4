//! Why a socket is closed: the codes of the contract.

/// A close code with its reason. The reason is for people; at most 123 bytes, as RFC 6455 allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Close {
    /// The app closed, or is gone: there is nobody to tell.
    Gone,
    /// The tenth message that was not understood within a minute.
    TooManyBadMessages,
    /// The app does not take what it is sent.
    TooSlow,
    /// A frame over the limit.
    TooBig,
    /// The node stops; connect again.
    Restart,
    /// The token cannot be checked, or the standing not read: the database is away.
    Unavailable,
    /// No, a bad, or a revoked token.
    NotAuthenticated,
    /// A message that the member may not send.
    NotAllowed,
    /// No token within the time.
    NoAuthInTime,
    /// A newer session of the same therapist.
    Replaced,
    /// More live fixes than allowed.
    TooFast,
}

impl Close {
    /// Whether what the app has asked for before is still done: it may have left, but was not thrown out.
    pub(super) const fn ends_commands(self) -> bool {
        matches!(self, Self::Gone | Self::Restart | Self::TooSlow)
    }

    pub(super) const fn code(self) -> u16 {
        match self {
            Self::Gone => 1000,
            Self::TooManyBadMessages | Self::TooSlow => 1008,
            Self::TooBig => 1009,
            Self::Restart | Self::Unavailable => 1012,
            Self::NotAuthenticated => 4401,
            Self::NotAllowed => 4403,
            Self::NoAuthInTime => 4408,
            Self::Replaced => 4409,
            Self::TooFast => 4429,
        }
    }

    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Gone => "",
            Self::TooManyBadMessages => "ten messages within a minute were not understood",
            Self::TooSlow => "messages are not read fast enough; connect again",
            Self::TooBig => "a frame is larger than 256 KiB",
            Self::Restart => "this node restarts; connect again",
            Self::Unavailable => "the database is away; connect again",
            Self::NotAuthenticated => "the token is not good",
            Self::NotAllowed => "this message is not allowed with this token",
            Self::NoAuthInTime => "no auth message within the time",
            Self::Replaced => "replaced by a newer session; do not reconnect",
            Self::TooFast => "more live fixes than allowed",
        }
    }
}
