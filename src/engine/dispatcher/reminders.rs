//! Both parties of a scheduled booking are reminded before its time: committed, then told.

use std::time::Duration;

use super::{DispatcherHandle, Shared};
use crate::store::StoreError;
use crate::store::bookings::{self, DueReminder, Reminded};
use crate::wire::stream::{Reminder, ServerMessage};
use crate::wire::time::WireTime;

/// How often it is looked whether a reminder is due.
pub const REMIND_EVERY: Duration = Duration::from_secs(5);

impl DispatcherHandle {
    /// Gives the reminders that are due, and says how many. Safe to do at any time, on any number of nodes: the entry of
    /// the timeline is there once. One that cannot be given keeps no other from being given.
    ///
    /// # Errors
    /// When it could not be read what is due.
    pub async fn remind(&self) -> Result<usize, StoreError> {
        let before_s = self.shared.settings.load().dispatch.reminders_s.clone();
        let mut given = 0;
        for due in bookings::due_reminders(&self.shared.pool, &before_s).await? {
            let told = self.run(move |shared| async move {
                let reminded = bookings::remind(&shared.pool, due).await?;
                if let Some(reminded) = &reminded {
                    shared.tell_reminder(due, reminded);
                }
                Ok(reminded.is_some())
            });
            match told.await {
                Ok(told) => given += usize::from(told),
                Err(error) => {
                    tracing::warn!(%error, booking_id = due.booking.0, "a reminder could not be given now; tried again soon");
                }
            }
        }
        Ok(given)
    }
}

impl Shared {
    fn tell_reminder(&self, due: DueReminder, reminded: &Reminded) {
        let view = &reminded.view;
        for user in view.parties() {
            // Of a therapist; at a store it is the customer who sets out.
            let travels = user != view.customer && !view.is_in_store();
            let set_out_at = reminded.set_out_at.filter(|_| travels).map(WireTime);
            let reminder = Reminder {
                booking_uuid: view.booking.uuid,
                scheduled_at: WireTime(reminded.scheduled_at),
                before_s: due.before_s,
                set_out_at,
            };
            self.bus.tell(user, ServerMessage::Reminder(reminder));
        }
        self.bus.booking_changed(view.id);
        metrics::counter!("spacall_reminders_total").increment(1);
    }
}
