-- Which node drives a booking says nothing of the booking itself: a lease that is taken or renewed (by statements that
-- change nothing else) is no news for who follows updated_at.
CREATE OR REPLACE TRIGGER trg_bookings_updated_at BEFORE UPDATE ON bookings
    FOR EACH ROW WHEN ((NEW.lease_owner, NEW.lease_token, NEW.lease_until) IS NOT DISTINCT FROM
                       (OLD.lease_owner, OLD.lease_token, OLD.lease_until))
    EXECUTE FUNCTION set_updated_at();
