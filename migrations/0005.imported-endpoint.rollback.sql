ALTER TABLE usage DISABLE TRIGGER usage_is_final;
DO $$
BEGIN
    UPDATE usage SET endpoint = '/chat' WHERE state = 'imported' AND endpoint = '/v1/chat/completions';
    IF FOUND THEN
        PERFORM rebuild_usage_daily();
    END IF;
END
$$;
ALTER TABLE usage ENABLE TRIGGER usage_is_final;
