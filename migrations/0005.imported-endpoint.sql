-- Imported rows are chat completions: they get the endpoint that the agent stores for its own, so that reports do not
-- split one endpoint into two groups.
ALTER TABLE usage DISABLE TRIGGER usage_is_final;
DO $$
BEGIN
    UPDATE usage SET endpoint = '/v1/chat/completions' WHERE state = 'imported' AND endpoint = '/chat';
    IF FOUND THEN
        PERFORM rebuild_usage_daily();
    END IF;
END
$$;
ALTER TABLE usage ENABLE TRIGGER usage_is_final;
