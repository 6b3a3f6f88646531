DROP TRIGGER settings_time_zone ON settings;
DROP FUNCTION check_time_zone();
DO $$
DECLARE
    entry record;
BEGIN
    FOR entry IN
        SELECT conrelid::regclass AS relation, conname AS name FROM pg_constraint
        WHERE conname LIKE '%\_is\_readable'
          AND conrelid IN ('users'::regclass, 'tokens'::regclass, 'prices'::regclass, 'budgets'::regclass,
                           'admins'::regclass, 'reservations'::regclass)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', entry.relation, entry.name);
    END LOOP;
END
$$;
