-- Admins may have a password, for the console, beside a token or alone.
ALTER TABLE admins
    ALTER COLUMN digest DROP NOT NULL,
    ALTER COLUMN token_prefix DROP NOT NULL,
    ADD CONSTRAINT token_is_whole CHECK ((digest IS NULL) = (token_prefix IS NULL)),
    ADD COLUMN password_hash text CHECK (length(password_hash) <= 512),   -- argon2id, with its salt and parameters
    ADD COLUMN password_set_at timestamptz CONSTRAINT password_set_at_is_readable
        CHECK (password_set_at >= '1970-01-01Z' AND password_set_at < '9999-01-01Z'),
    ADD CONSTRAINT password_is_whole CHECK ((password_hash IS NULL) = (password_set_at IS NULL));

-- Browsers that are signed in: no address, no name of a browser.
CREATE TABLE admin_sessions (
    digest       bytea PRIMARY KEY CHECK (length(digest) = 32),   -- HMAC-SHA256 of what the browser has
    admin_id     bigint NOT NULL REFERENCES admins ON DELETE CASCADE,
    created_at   timestamptz NOT NULL CONSTRAINT created_at_is_readable
                     CHECK (created_at >= '1970-01-01Z' AND created_at < '9999-01-01Z'),
    last_used_at timestamptz NOT NULL CONSTRAINT last_used_at_is_readable
                     CHECK (last_used_at >= '1970-01-01Z' AND last_used_at < '9999-01-01Z')
);
CREATE INDEX admin_sessions_admin ON admin_sessions (admin_id);

-- All sessions of an admin end with a new password, another role, or a revocation, whoever makes the change. A password
-- that is only hashed anew keeps its date, and its sessions.
CREATE FUNCTION end_admin_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM admin_sessions WHERE admin_id = NEW.id;
    RETURN NULL;
END
$$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION end_admin_sessions() SET search_path = %I, pg_temp', current_schema());
END
$$;
CREATE TRIGGER admins_sessions AFTER UPDATE ON admins FOR EACH ROW
    WHEN (OLD.password_set_at IS DISTINCT FROM NEW.password_set_at OR OLD.role <> NEW.role
          OR NEW.revoked_at IS NOT NULL)
    EXECUTE FUNCTION end_admin_sessions();

-- As before, and of a password the audit log tells that it was set.
CREATE OR REPLACE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    actor   text := nullif(current_setting('chatgpt_agent.actor', true), '');
    old_row jsonb := CASE WHEN TG_OP = 'INSERT' THEN '{}' ELSE to_jsonb(OLD) END;
    new_row jsonb := CASE WHEN TG_OP = 'DELETE' THEN '{}' ELSE to_jsonb(NEW) END;
    secret  text;
    counter regclass := pg_get_serial_sequence('audit_log', 'id');
BEGIN
    FOREACH secret IN ARRAY ARRAY['upstream_key', 'digest', 'password_hash'] LOOP
        IF old_row -> secret IS DISTINCT FROM new_row -> secret THEN   -- that it changed, but not its value
            old_row := CASE WHEN old_row ? secret THEN old_row || jsonb_build_object(secret, '(before)')
                            ELSE old_row END;
            new_row := CASE WHEN new_row ? secret THEN new_row || jsonb_build_object(secret, '(set)') ELSE new_row END;
        ELSE
            old_row := old_row - secret;
            new_row := new_row - secret;
        END IF;
    END LOOP;
    old_row := old_row - 'version';
    new_row := new_row - 'version';
    IF TG_OP = 'UPDATE' AND old_row = new_row THEN
        RETURN NULL;
    END IF;
    -- A restore sets the counter back to where it was before the restore's own rows.
    IF (SELECT max(id) FROM audit_log) > pg_sequence_last_value(counter) THEN
        PERFORM setval(counter, (SELECT max(id) FROM audit_log));
    END IF;
    INSERT INTO audit_log (at, actor, via, address, action, object, object_id, before, after)
    SELECT CASE WHEN actor IS NULL THEN clock_timestamp()
                ELSE current_setting('chatgpt_agent.at', true)::timestamptz END,
           coalesce(actor, session_user::text),
           CASE WHEN actor IS NULL THEN 'sql' ELSE current_setting('chatgpt_agent.via', true) END,
           CASE WHEN actor IS NULL THEN coalesce(inet_client_addr()::text, 'local')
                ELSE current_setting('chatgpt_agent.address', true) END,
           lower(TG_OP),
           CASE WHEN TG_TABLE_NAME LIKE 'usage%' THEN 'usage' ELSE TG_TABLE_NAME END,   -- the name of a partition
           coalesce(new_row ->> 'id', old_row ->> 'id', '0')::bigint,
           CASE WHEN TG_OP <> 'INSERT' THEN
               (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(old_row)
                WHERE value IS DISTINCT FROM new_row -> key) END,
           CASE WHEN TG_OP <> 'DELETE' THEN
               (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(new_row)
                WHERE value IS DISTINCT FROM old_row -> key) END;
    RETURN NULL;
END
$$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_change() SET search_path = %I, pg_temp', current_schema());
END
$$;
ALTER FUNCTION audit_change() SET timezone = 'UTC';
