-- Functions find our tables whatever the search_path of the session is: pg_restore --data-only empties it, and triggers
-- run then. Times in the audit log are UTC. A migration that replaces a function must do this again.
-- During a restore the counter may come after the rows, which bring their versions with them.
CREATE OR REPLACE FUNCTION directory_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    restored bigint := NEW.version;
BEGIN
    UPDATE directory_version SET version = version + 1 RETURNING version INTO NEW.version;
    IF NOT FOUND THEN
        NEW.version := restored;
    END IF;
    PERFORM pg_notify('chatgpt_agent', NEW.version::text);
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    actor   text := nullif(current_setting('chatgpt_agent.actor', true), '');
    old_row jsonb := CASE WHEN TG_OP = 'INSERT' THEN '{}' ELSE to_jsonb(OLD) END;
    new_row jsonb := CASE WHEN TG_OP = 'DELETE' THEN '{}' ELSE to_jsonb(NEW) END;
    secret  text;
    counter regclass := pg_get_serial_sequence('audit_log', 'id');
BEGIN
    FOREACH secret IN ARRAY ARRAY['upstream_key', 'digest'] LOOP
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
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT p.oid::regprocedure FROM pg_proc p
        WHERE p.pronamespace = current_schema()::regnamespace
          AND p.proname IN ('directory_changed', 'directory_deleted', 'ensure_usage_partition', 'usage_is_final',
                            'audit_change', 'audit_is_final', 'rebuild_usage_daily', 'check_time_zone')
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
    END LOOP;
END
$$;
ALTER FUNCTION audit_change() SET timezone = 'UTC';
