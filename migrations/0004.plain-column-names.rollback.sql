CREATE OR REPLACE FUNCTION directory_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE directory_version SET version = version + 1 RETURNING version INTO NEW.changed;
    PERFORM pg_notify('chatgpt_agent', NEW.changed::text);
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION directory_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE directory_version SET version = version + 1, reset = version + 1;
    PERFORM pg_notify('chatgpt_agent', 'reset');
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION usage_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a row of usage is final: it is corrected by another row'
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE OR REPLACE FUNCTION audit_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only added to' USING ERRCODE = 'restrict_violation';
END
$$;

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
           coalesce(sum(audio_output_tokens), 0), coalesce(sum(image_output_tokens), 0), sum(cost), sum(reserved)
    FROM usage GROUP BY 1, 2, 3, 4, 5;
END
$$;

CREATE OR REPLACE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    actor  text := nullif(current_setting('chatgpt_agent.actor', true), '');
    old_   jsonb := CASE WHEN TG_OP = 'INSERT' THEN '{}' ELSE to_jsonb(OLD) END;
    new_   jsonb := CASE WHEN TG_OP = 'DELETE' THEN '{}' ELSE to_jsonb(NEW) END;
    secret text;
BEGIN
    FOREACH secret IN ARRAY ARRAY['upstream_key', 'digest'] LOOP
        IF old_ -> secret IS DISTINCT FROM new_ -> secret THEN   -- that it changed, and not what it is
            old_ := CASE WHEN old_ ? secret THEN old_ || jsonb_build_object(secret, '(before)') ELSE old_ END;
            new_ := CASE WHEN new_ ? secret THEN new_ || jsonb_build_object(secret, '(set)') ELSE new_ END;
        ELSE
            old_ := old_ - secret;
            new_ := new_ - secret;
        END IF;
    END LOOP;
    old_ := old_ - 'changed';
    new_ := new_ - 'changed';
    IF TG_OP = 'UPDATE' AND old_ = new_ THEN
        RETURN NULL;
    END IF;
    INSERT INTO audit_log (at, actor, via, address, action, object, object_id, before, after)
    SELECT CASE WHEN actor IS NULL THEN clock_timestamp()
                ELSE current_setting('chatgpt_agent.at', true)::timestamptz END, coalesce(actor, session_user::text),
           CASE WHEN actor IS NULL THEN 'sql' ELSE current_setting('chatgpt_agent.via', true) END,
           CASE WHEN actor IS NULL THEN coalesce(inet_client_addr()::text, 'local')
                ELSE current_setting('chatgpt_agent.address', true) END,
           lower(TG_OP), CASE WHEN TG_TABLE_NAME LIKE 'usage%' THEN 'usage' ELSE TG_TABLE_NAME END, coalesce(new_ ->> 'id', old_ ->> 'id', '0')::bigint,
           CASE WHEN TG_OP <> 'INSERT' THEN
               (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(old_)
                WHERE value IS DISTINCT FROM new_ -> key) END,
           CASE WHEN TG_OP <> 'DELETE' THEN
               (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(new_)
                WHERE value IS DISTINCT FROM old_ -> key) END;
    RETURN NULL;
END
$$;

ALTER TABLE usage RENAME COLUMN uncertain_cost TO reserved;
ALTER TABLE usage_daily RENAME COLUMN uncertain_cost TO reserved;
ALTER TABLE budget_alerts RENAME COLUMN next_attempt_at TO next_try_at;
ALTER TABLE budget_alerts RENAME COLUMN attempts TO tries;
ALTER TABLE budget_alerts RENAME COLUMN window_start TO since;
ALTER TABLE agents RENAME COLUMN backlog TO waiting;
ALTER TABLE dead_letters RENAME COLUMN rejected_at TO buried_at;
ALTER TABLE admins RENAME COLUMN token_prefix TO shown;
ALTER TABLE tokens RENAME COLUMN token_prefix TO shown;
ALTER TABLE directory_version RENAME COLUMN reset_version TO reset;
ALTER INDEX budgets_version RENAME TO budgets_changed;
ALTER INDEX prices_version RENAME TO prices_changed;
ALTER INDEX tokens_version RENAME TO tokens_changed;
ALTER INDEX users_version RENAME TO users_changed;
ALTER TABLE budgets RENAME COLUMN version TO changed;
ALTER TABLE prices RENAME COLUMN version TO changed;
ALTER TABLE tokens RENAME COLUMN version TO changed;
ALTER TABLE users RENAME COLUMN version TO changed;
