-- A raise is lost: the plain amount, which is lower, is in force at once.
ALTER TABLE budgets DROP COLUMN raised_amount, DROP COLUMN raised_until;
