-- The token with which a device was noted: a device on which somebody has logged out is no longer told what is his. Null: noted by the
-- Laravel application.
ALTER TABLE device_tokens ADD COLUMN access_token_id BIGINT REFERENCES personal_access_tokens (id) ON DELETE CASCADE;
CREATE INDEX idx_device_tokens_access_token ON device_tokens (access_token_id);

-- '+63 (0)917 123 4567' is the same phone, too.
CREATE OR REPLACE FUNCTION normalise_phone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.phone := regexp_replace(NEW.phone, '[\s().-]', '', 'g');
    IF NEW.phone ~ '^09[0-9]{9}$' THEN
        NEW.phone := '+63' || substr(NEW.phone, 2);
    ELSIF NEW.phone LIKE '+630%' THEN
        NEW.phone := '+63' || substr(NEW.phone, 5);
    END IF;
    RETURN NEW;
END $$;

-- Who shares his phone with a live account by now stays as he is, for an admin to look at.
UPDATE users u SET phone = phone
WHERE phone LIKE '+630%' AND '+63' || substr(phone, 5) ~ '^\+[1-9][0-9]{7,14}$'
  AND (deleted_at IS NOT NULL
       OR NOT EXISTS (SELECT 1 FROM users o WHERE o.phone = '+63' || substr(u.phone, 5) AND o.deleted_at IS NULL));
