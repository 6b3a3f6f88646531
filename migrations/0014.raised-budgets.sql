-- A budget may be raised for a time: until `raised_until` its amount is `raised_amount`, and then `amount` again, by the
-- clock of each agent and without a write.
ALTER TABLE budgets
    ADD COLUMN raised_amount numeric CONSTRAINT raised_amount_is_readable
        CHECK (raised_amount >= 0 AND raised_amount <= 1000000000000 AND raised_amount = round(raised_amount, 20)),
    ADD COLUMN raised_until timestamptz CONSTRAINT raised_until_is_readable
        CHECK (raised_until >= '2000-01-01Z' AND raised_until < '9999-01-01Z'),
    ADD CONSTRAINT raise_is_readable CHECK ((raised_amount IS NULL) = (raised_until IS NULL));
