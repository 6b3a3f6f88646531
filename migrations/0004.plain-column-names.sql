-- Renames columns: one word for one thing in the database, in REST and in the code. No row is rewritten.
-- Functions are replaced first: plpgsql looks up columns when it runs, and Citus propagates no function after it has
-- altered a distributed table in the same transaction.

CREATE OR REPLACE FUNCTION directory_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE directory_version SET version = version + 1 RETURNING version INTO NEW.version;
    PERFORM pg_notify('chatgpt_agent', NEW.version::text);
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION directory_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE directory_version SET version = version + 1, reset_version = version + 1;
    PERFORM pg_notify('chatgpt_agent', 'reset');
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION usage_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of usage are immutable: add a correction' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE OR REPLACE FUNCTION audit_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;

-- Rebuilds the daily sums from the rows, in the time zone of settings.
CREATE OR REPLACE FUNCTION rebuild_usage_daily() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE usage_daily IN EXCLUSIVE MODE;
    DELETE FROM usage_daily;
    INSERT INTO usage_daily
    SELECT (started_at AT TIME ZONE (SELECT value FROM settings WHERE name = 'time_zone'))::date,
           user_id, token_id, model, endpoint,
           count(*) FILTER (WHERE state <> 'correction'),
           count(*) FILTER (WHERE state NOT IN ('done', 'correction', 'imported')),
           coalesce(sum(input_tokens), 0), coalesce(sum(cached_tokens), 0), coalesce(sum(cache_write_tokens), 0),
           coalesce(sum(audio_input_tokens), 0), coalesce(sum(image_input_tokens), 0),
           coalesce(sum(output_tokens), 0), coalesce(sum(reasoning_tokens), 0),
           coalesce(sum(audio_output_tokens), 0), coalesce(sum(image_output_tokens), 0), sum(cost), sum(uncertain_cost)
    FROM usage GROUP BY 1, 2, 3, 4, 5;
END
$$;

-- The actor comes from settings of the transaction. A change made without them is recorded as that of the PostgreSQL
-- account. Rows written before this migration keep the former column names in `before` and `after`.
CREATE OR REPLACE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    actor   text := nullif(current_setting('chatgpt_agent.actor', true), '');
    old_row jsonb := CASE WHEN TG_OP = 'INSERT' THEN '{}' ELSE to_jsonb(OLD) END;
    new_row jsonb := CASE WHEN TG_OP = 'DELETE' THEN '{}' ELSE to_jsonb(NEW) END;
    secret  text;
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

-- The version of the directory that the row was last changed in.
ALTER TABLE users RENAME COLUMN changed TO version;
ALTER TABLE tokens RENAME COLUMN changed TO version;
ALTER TABLE prices RENAME COLUMN changed TO version;
ALTER TABLE budgets RENAME COLUMN changed TO version;
ALTER INDEX users_changed RENAME TO users_version;
ALTER INDEX tokens_changed RENAME TO tokens_version;
ALTER INDEX prices_changed RENAME TO prices_version;
ALTER INDEX budgets_changed RENAME TO budgets_version;
ALTER TABLE directory_version RENAME COLUMN reset TO reset_version;

-- The first characters of a token.
ALTER TABLE tokens RENAME COLUMN shown TO token_prefix;
ALTER TABLE admins RENAME COLUMN shown TO token_prefix;

ALTER TABLE dead_letters RENAME COLUMN buried_at TO rejected_at;
ALTER TABLE agents RENAME COLUMN waiting TO backlog;
ALTER TABLE budget_alerts RENAME COLUMN since TO window_start;
ALTER TABLE budget_alerts RENAME COLUMN tries TO attempts;
ALTER TABLE budget_alerts RENAME COLUMN next_try_at TO next_attempt_at;

-- The maximum that a row of unknown cost may have cost, in USD.
ALTER TABLE usage_daily RENAME COLUMN reserved TO uncertain_cost;
ALTER TABLE usage RENAME COLUMN reserved TO uncertain_cost;
