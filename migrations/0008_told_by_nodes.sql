-- A NOTIFY in a transaction holds one lock of the whole database until its commit is on the disk: transactions that notify
-- commit one after the other. So a node tells of the bookings and offers that it moves itself, after the commit and many in one
-- transaction (store/changes.rs), and says so: spacall.tells is 'itself' in those that move them. What everybody else changes is
-- told by the triggers as before.
CREATE OR REPLACE FUNCTION notify_row() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    IF current_setting('spacall.tells', true) IS NOT DISTINCT FROM 'itself' THEN
        RETURN NULL;
    END IF;
    PERFORM pg_notify('spacall_changes', TG_ARGV[0] || ':' || CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION notify_provider() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    IF current_setting('spacall.tells', true) IS NOT DISTINCT FROM 'itself' THEN
        RETURN NULL;
    END IF;
    -- A row that changes hands matters to both; NULL (a booking that nobody took yet) matters to nobody.
    IF TG_OP <> 'INSERT' AND OLD.provider_id IS NOT NULL THEN
        PERFORM pg_notify('spacall_changes', 'provider:' || OLD.provider_id);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.provider_id IS NOT NULL THEN
        PERFORM pg_notify('spacall_changes', 'provider:' || NEW.provider_id);
    END IF;
    RETURN NULL;
END $$;
