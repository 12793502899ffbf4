-- What the customer pays the platform on top of each booking's price.
INSERT INTO app_settings (key, value, description) VALUES
('platform_fee', '0', 'Platform fee of each booking, pesos')
ON CONFLICT DO NOTHING;
