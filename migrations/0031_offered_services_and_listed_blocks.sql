-- Of a service, matching holds one thing: whether it can be booked. Who offers it is read again when that changes, and nobody
-- when anything else of the catalogue does. (A row that is deleted takes `provider_services` with it, which tell of themselves.)
CREATE TRIGGER trg_services_offered_notify AFTER UPDATE ON services FOR EACH ROW
    WHEN (OLD.is_active IS DISTINCT FROM NEW.is_active OR OLD.deleted_at IS DISTINCT FROM NEW.deleted_at)
    EXECUTE FUNCTION notify_row('service');

-- A list that grows is read by pages, which need a key.
ALTER TABLE customer_blocks ADD COLUMN id BIGINT GENERATED ALWAYS AS IDENTITY;
