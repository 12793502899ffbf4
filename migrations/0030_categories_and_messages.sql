-- The catalogue shows each service's category and is in the order of categories: a changed category is a changed catalogue.
CREATE TRIGGER trg_service_categories_notify AFTER INSERT OR DELETE OR UPDATE ON service_categories
    FOR EACH STATEMENT EXECUTE FUNCTION notify_table('catalog');

-- Whoever wrote it (this node, another, the Laravel application), the node to which its receiver is connected tells him.
CREATE TRIGGER trg_messages_notify AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION notify_row('message');
