-- The catalogue shows each service's category and is in the order of categories: a changed category is a changed catalogue.
CREATE TRIGGER trg_service_categories_notify AFTER INSERT OR DELETE OR UPDATE ON service_categories
    FOR EACH STATEMENT EXECUTE FUNCTION notify_table('catalog');
