-- Reminders of scheduled bookings: one entry of the timeline for each, whoever makes it and however often it is tried.
CREATE UNIQUE INDEX uq_booking_timeline_one_reminder ON booking_timeline (booking_id, (metadata ->> 'before_s'))
    WHERE status = 'reminder';
