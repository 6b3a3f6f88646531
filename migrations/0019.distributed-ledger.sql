-- The ledger can be distributed by user over the servers of a Citus cluster (`chatgpt-agent migrate --distribute`). The
-- schema is the same on one PostgreSQL: on Citus every unique index must have the user's id.
-- Functions come first: Citus propagates none after it has altered a distributed table in the same transaction.

-- Writes a line of the audit log: what `audit_change()` did, as a function that a statement can call, too.
CREATE FUNCTION audit_write(action text, object text, old_row jsonb, new_row jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    actor   text := nullif(current_setting('chatgpt_agent.actor', true), '');
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
    IF action = 'update' AND old_row = new_row THEN
        RETURN;
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
           action,
           object,
           coalesce(new_row ->> 'id', old_row ->> 'id', '0')::bigint,
           CASE WHEN action <> 'insert' THEN
               (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(old_row)
                WHERE value IS DISTINCT FROM new_row -> key) END,
           CASE WHEN action <> 'delete' THEN
               (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(new_row)
                WHERE value IS DISTINCT FROM old_row -> key) END;
END
$$;

CREATE OR REPLACE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit_write(
        lower(TG_OP), CASE WHEN TG_TABLE_NAME LIKE 'usage%' THEN 'usage' ELSE TG_TABLE_NAME END,   -- of a partition
        CASE WHEN TG_OP = 'INSERT' THEN '{}' ELSE to_jsonb(OLD) END,
        CASE WHEN TG_OP = 'DELETE' THEN '{}' ELSE to_jsonb(NEW) END);
    RETURN NULL;
END
$$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_write(text, text, jsonb, jsonb) SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION audit_change() SET search_path = %I, pg_temp', current_schema());
END
$$;
ALTER FUNCTION audit_write(text, text, jsonb, jsonb) SET timezone = 'UTC';
ALTER FUNCTION audit_change() SET timezone = 'UTC';

-- The program's corrections write their line of the audit log themselves, because a trigger on a server of Citus has no
-- audit log. On one PostgreSQL this trigger is for corrections that are written by hand in SQL.
DROP TRIGGER usage_audit ON usage;
CREATE TRIGGER usage_audit AFTER INSERT ON usage FOR EACH ROW
    WHEN (NEW.state = 'correction' AND coalesce(current_setting('chatgpt_agent.actor', true), '') = '')
    EXECUTE FUNCTION audit_change();

-- A request has one user, and so has its correction.
ALTER TABLE usage DROP CONSTRAINT usage_pkey;
ALTER TABLE usage ADD PRIMARY KEY (request_id, started_at, user_id);
DROP INDEX usage_corrects;
CREATE UNIQUE INDEX usage_corrects ON usage (corrects, started_at, user_id) WHERE corrects IS NOT NULL;
