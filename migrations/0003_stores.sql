-- Stores reach the index of stores as therapists reach theirs (see 0002): by the id of their provider. Changes of
-- providers, provider_services, services and users are announced already; what a store says of itself is not.
CREATE TRIGGER trg_store_profiles_notify AFTER INSERT OR DELETE OR UPDATE OF provider_id, store_name, address_line1,
    address_line2, city, province, postal_code, phone, latitude, longitude, amenities, operating_hours
    ON store_profiles FOR EACH ROW EXECUTE FUNCTION notify_provider();
