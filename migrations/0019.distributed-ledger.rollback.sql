-- One server gets the whole ledger back. What Citus has is looked up only where it is installed.
DO $$
DECLARE
    name text;
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        FOREACH name IN ARRAY ARRAY['archived_daily', 'usage_daily', 'usage'] LOOP
            IF EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = name::regclass) THEN
                PERFORM undistribute_table(name::regclass);
            END IF;
        END LOOP;
    END IF;
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
DROP TRIGGER IF EXISTS usage_audit ON usage;   -- a distributed ledger has none
CREATE TRIGGER usage_audit AFTER INSERT ON usage FOR EACH ROW WHEN (NEW.state = 'correction')
    EXECUTE FUNCTION audit_change();
DROP FUNCTION audit_write(text, text, jsonb, jsonb);
DROP INDEX usage_corrects;
CREATE UNIQUE INDEX usage_corrects ON usage (corrects, started_at) WHERE corrects IS NOT NULL;
ALTER TABLE usage DROP CONSTRAINT usage_pkey;
ALTER TABLE usage ADD PRIMARY KEY (request_id, started_at);
