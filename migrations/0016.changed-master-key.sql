-- The master key can be changed while agents run. `settings` then also has the secrets by which tokens are hashed,
-- encrypted by the key whose check value it has; they stay as they are, because tokens cannot be hashed again.

-- Which keys an agent has: parts of their check values, the newest first.
ALTER TABLE agents ADD COLUMN master_keys text[] NOT NULL DEFAULT '{}';

-- An agent or a command that has not noticed the change must not encrypt with the former key, which may be dropped soon.
-- The change waits for transactions that have come this far; the second statement sees what it has committed. Only the
-- program's own changes are checked: a backup that is restored may be from during a change.
CREATE FUNCTION check_master_key() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    key text;
BEGIN
    IF NEW.upstream_key = '' OR coalesce(current_setting('chatgpt_agent.actor', true), '') = '' THEN
        RETURN NEW;
    END IF;
    PERFORM FROM settings WHERE name = 'master_key_check' FOR SHARE;
    SELECT left(value, 16) INTO key FROM settings
    WHERE name = 'master_key_check' AND EXISTS (SELECT FROM settings WHERE name = 'digest_secrets');
    IF key IS NOT NULL AND substring(NEW.upstream_key FOR 18) <> convert_to('k' || key || ':', 'UTF8') THEN
        RAISE EXCEPTION 'the master key was changed a moment ago: try again' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION check_master_key() SET search_path = %I, pg_temp', current_schema());
END
$$;
CREATE TRIGGER users_master_key BEFORE INSERT OR UPDATE OF upstream_key ON users
    FOR EACH ROW EXECUTE FUNCTION check_master_key();

-- A key that is only encrypted again stays the same: the audit log has one entry for the change of the master key.
DROP TRIGGER users_audit ON users;
CREATE TRIGGER users_audit AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW
    WHEN (coalesce(current_setting('chatgpt_agent.reencrypting', true), '') <> 'on') EXECUTE FUNCTION audit_change();
CREATE TRIGGER settings_audit AFTER UPDATE ON settings FOR EACH ROW WHEN (OLD.name = 'master_key_check')
    EXECUTE FUNCTION audit_change();
