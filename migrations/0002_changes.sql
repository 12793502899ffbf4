-- Row changes that matter to matching reach every node by NOTIFY on one channel, whoever makes them (this service, the
-- Laravel application, a person with psql). The payload names a row, never its content: the listener re-reads it, so
-- changes apply in commit order and a repeated or late notification does no harm. Triggers watch only the columns that
-- matching reads; identical payloads of one transaction are sent once (PostgreSQL folds them).
--
--   provider:ID   re-read this therapist      user:ID    re-read the providers of this user
--   booking:ID    its status or provider changed          catalog | settings   re-read that table

-- TG_ARGV[0] is the word of the payload; plpgsql is compiled per table, so one function serves every table with the column.
CREATE FUNCTION notify_row() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    PERFORM pg_notify('spacall_changes', TG_ARGV[0] || ':' || CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END);
    RETURN NULL;
END $$;

CREATE FUNCTION notify_provider() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    -- A row that changes hands matters to both; NULL (a booking that nobody took yet) matters to nobody.
    IF TG_OP <> 'INSERT' AND OLD.provider_id IS NOT NULL THEN
        PERFORM pg_notify('spacall_changes', 'provider:' || OLD.provider_id);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.provider_id IS NOT NULL THEN
        PERFORM pg_notify('spacall_changes', 'provider:' || NEW.provider_id);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION notify_table() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    PERFORM pg_notify('spacall_changes', TG_ARGV[0]);
    RETURN NULL;
END $$;

CREATE TRIGGER trg_providers_notify_row AFTER INSERT OR DELETE ON providers
    FOR EACH ROW EXECUTE FUNCTION notify_row('provider');
CREATE TRIGGER trg_providers_notify_change AFTER UPDATE OF verification_status, is_active, is_available,
    accepts_home_service, accepts_store_service, average_rating, total_reviews, commission_rate, deleted_at, type, user_id
    ON providers FOR EACH ROW
    WHEN ((OLD.verification_status, OLD.is_active, OLD.is_available, OLD.accepts_home_service, OLD.accepts_store_service,
           OLD.average_rating, OLD.total_reviews, OLD.commission_rate, OLD.deleted_at, OLD.type, OLD.user_id)
          IS DISTINCT FROM
          (NEW.verification_status, NEW.is_active, NEW.is_available, NEW.accepts_home_service, NEW.accepts_store_service,
           NEW.average_rating, NEW.total_reviews, NEW.commission_rate, NEW.deleted_at, NEW.type, NEW.user_id))
    EXECUTE FUNCTION notify_row('provider');

CREATE TRIGGER trg_therapist_profiles_notify AFTER INSERT OR DELETE OR UPDATE OF provider_id, specializations,
    languages_spoken, service_radius_km, base_location_latitude, base_location_longitude, default_schedule,
    accepts_genders, buffer_minutes
    ON therapist_profiles FOR EACH ROW EXECUTE FUNCTION notify_provider();

CREATE TRIGGER trg_provider_services_notify AFTER INSERT OR DELETE OR UPDATE OF provider_id, service_id, price,
    is_available, home_service_enabled, store_service_enabled, base_distance_km, per_km_surcharge, max_travel_distance_km
    ON provider_services FOR EACH ROW EXECUTE FUNCTION notify_provider();

CREATE TRIGGER trg_customer_blocks_notify AFTER INSERT OR DELETE OR UPDATE OF customer_id, provider_id
    ON customer_blocks FOR EACH ROW EXECUTE FUNCTION notify_provider();

-- A user is not seen at every request that touches last_active_at.
CREATE TRIGGER trg_users_notify_change AFTER UPDATE OF first_name, gender, is_active, deleted_at
    ON users FOR EACH ROW
    WHEN ((OLD.first_name, OLD.gender, OLD.is_active, OLD.deleted_at)
          IS DISTINCT FROM (NEW.first_name, NEW.gender, NEW.is_active, NEW.deleted_at))
    EXECUTE FUNCTION notify_row('user');

CREATE TRIGGER trg_bookings_notify_row AFTER INSERT OR DELETE ON bookings
    FOR EACH ROW EXECUTE FUNCTION notify_row('booking');
CREATE TRIGGER trg_bookings_notify_change AFTER UPDATE OF status, provider_id, busy_during, deleted_at
    ON bookings FOR EACH ROW
    WHEN ((OLD.status, OLD.provider_id, OLD.busy_during, OLD.deleted_at)
          IS DISTINCT FROM (NEW.status, NEW.provider_id, NEW.busy_during, NEW.deleted_at))
    EXECUTE FUNCTION notify_row('booking');
CREATE TRIGGER trg_bookings_notify_provider AFTER INSERT OR DELETE OR UPDATE OF status, provider_id, busy_during, deleted_at
    ON bookings FOR EACH ROW EXECUTE FUNCTION notify_provider();

CREATE TRIGGER trg_booking_offers_notify AFTER INSERT OR DELETE OR UPDATE OF status, expires_at
    ON booking_offers FOR EACH ROW EXECUTE FUNCTION notify_provider();

CREATE TRIGGER trg_services_notify AFTER INSERT OR DELETE OR UPDATE ON services
    FOR EACH STATEMENT EXECUTE FUNCTION notify_table('catalog');
CREATE TRIGGER trg_app_settings_notify AFTER INSERT OR DELETE OR UPDATE ON app_settings
    FOR EACH STATEMENT EXECUTE FUNCTION notify_table('settings');
