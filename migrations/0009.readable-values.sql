-- The database refuses what the program cannot read: times outside of Python's calendar, amounts that are no numbers,
-- lists with nothing in them. Earlier versions accepted times across the ends of the calendar: these are moved inside,
-- which changes nothing in what they mean. A constraint that other rows break is kept for new rows only; `ledger verify`
-- names such rows.

-- A price after the end is never in force; of several before the beginning, the last one stays the last one.
UPDATE prices SET effective_at = '9998-12-31T23:59:59Z' WHERE effective_at >= '9999-01-01Z';
UPDATE prices p SET effective_at = timestamptz '2000-01-01Z' + o.position * interval '1 microsecond'
FROM (
    SELECT id, row_number() OVER (PARTITION BY model ORDER BY effective_at, id) AS position
    FROM prices WHERE effective_at < '2000-01-01Z'
) o
WHERE p.id = o.id;

DO $$
DECLARE
    entry record;
BEGIN
    FOR entry IN
        SELECT * FROM (VALUES
            ('tokens', 'expires_at', '2000-01-01Z'),
            -- By the clock of an agent, which may be wrong.
            ('users', 'created_at', '1970-01-01Z'),
            ('users', 'disabled_at', '1970-01-01Z'),
            ('users', 'removed_at', '1970-01-01Z'),
            ('tokens', 'created_at', '1970-01-01Z'),
            ('tokens', 'revoked_at', '1970-01-01Z'),
            ('prices', 'created_at', '1970-01-01Z'),
            ('prices', 'cancelled_at', '1970-01-01Z'),
            ('budgets', 'created_at', '1970-01-01Z'),
            ('admins', 'created_at', '1970-01-01Z'),
            ('admins', 'revoked_at', '1970-01-01Z')
        ) AS columns(relation, name, first)
    LOOP
        EXECUTE format('UPDATE %1$I SET %2$I = least(greatest(%2$I, %3$L), %4$L) WHERE %2$I < %3$L OR %2$I > %4$L',
                       entry.relation, entry.name, entry.first, '9998-12-31T23:59:59.999999Z');
    END LOOP;
    FOR entry IN
        SELECT relation, name, format('%1$I >= %2$L AND %1$I < %3$L', name, first, '9999-01-01Z') AS rule
        FROM (VALUES
            ('prices', 'effective_at', '2000-01-01Z'),
            ('tokens', 'expires_at', '2000-01-01Z'),
            ('users', 'created_at', '1970-01-01Z'),
            ('users', 'disabled_at', '1970-01-01Z'),
            ('users', 'removed_at', '1970-01-01Z'),
            ('tokens', 'created_at', '1970-01-01Z'),
            ('tokens', 'revoked_at', '1970-01-01Z'),
            ('prices', 'created_at', '1970-01-01Z'),
            ('prices', 'cancelled_at', '1970-01-01Z'),
            ('budgets', 'created_at', '1970-01-01Z'),
            ('admins', 'created_at', '1970-01-01Z'),
            ('admins', 'revoked_at', '1970-01-01Z')
        ) AS times(relation, name, first)
        UNION ALL
        -- NaN and Infinity are greater than every number.
        SELECT 'prices', name, format('%1$I >= 0 AND %1$I <= 1000000000 AND %1$I = round(%1$I, 20)', name)
        FROM unnest(ARRAY['input', 'cached_input', 'cache_write', 'audio_input', 'image_input', 'output',
                          'audio_output', 'image_output']) AS rates(name)
        UNION ALL
        SELECT 'prices', 'tiers', $rule$jsonb_typeof(tiers) = 'array'$rule$
        UNION ALL
        SELECT 'budgets', 'amount', 'amount >= 0 AND amount <= 1000000000000 AND amount = round(amount, 20)'
        UNION ALL
        SELECT 'reservations', 'amount', 'abs(amount) <= 1000000000000000'
        UNION ALL
        SELECT relation, name,
               format('CASE WHEN array_ndims(%1$I) > 1 THEN false ELSE array_position(%1$I, NULL) IS NULL END', name)
        FROM (VALUES ('users', 'allowed_models'), ('tokens', 'allowed_models'), ('tokens', 'allowed_networks'))
            AS lists(relation, name)
    LOOP
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS %I', entry.relation, entry.name || '_is_readable');
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (%s) NOT VALID',
                       entry.relation, entry.name || '_is_readable', entry.rule);
        BEGIN
            EXECUTE format('ALTER TABLE %I VALIDATE CONSTRAINT %I', entry.relation, entry.name || '_is_readable');
        EXCEPTION WHEN check_violation THEN
            RAISE WARNING 'a row of % has a % that cannot be read: ledger verify names it', entry.relation, entry.name;
        END;
    END LOOP;
END
$$;

-- A time zone that PostgreSQL does not know would make it refuse every row of usage.
CREATE OR REPLACE FUNCTION check_time_zone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM timestamptz '2026-01-01Z' AT TIME ZONE NEW.value;
    RETURN NEW;
END
$$;
DROP TRIGGER IF EXISTS settings_time_zone ON settings;
CREATE TRIGGER settings_time_zone BEFORE INSERT OR UPDATE ON settings
    FOR EACH ROW WHEN (NEW.name = 'time_zone') EXECUTE FUNCTION check_time_zone();
