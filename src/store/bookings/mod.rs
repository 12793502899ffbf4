//! Bookings: made, seen, moved. Every move is a guarded UPDATE under the row's lock, in one transaction with all that
//! follows from it.

mod create;
mod demand;
pub(crate) mod fit;
pub mod lease;
mod lock;
mod moved;
mod open;
mod reminders;
mod search;
mod standing;
mod system;
mod transition;
mod view;
mod visit;

pub use create::{CreateOutcome, CreateRefused, NewBooking, Place, create, find_created};
pub use demand::demand;
pub(crate) use lock::{Locked, id_of, lock, read, set_out_from};
pub use moved::{MovePlace, MovedPage, last_move, moved_after, moves_before};
pub use open::{OpenBooking, open};
pub use reminders::{DueReminder, Reminded, due_reminders, remind};
pub use search::{Preferences, Search, search};
pub use standing::{SearchRules, standing, unsettled};
pub use system::{Anew, EndOutcome, ReleaseOutcome, end_by_system, release_unstarted};
pub(crate) use system::{INSUFFICIENT_BALANCE, cancel_pending, forget_winner};
pub use transition::{Actor, MoveRules, Moved, TransitionOutcome, Wish, transition};
pub use view::{BookingView, list, view, view_by_id};
pub use visit::{Venue, VisitRefused, look as look_at_store};
