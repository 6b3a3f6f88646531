-- When a price that was not in force yet was cancelled: it never takes effect. The row stays, as every price does.
ALTER TABLE prices ADD COLUMN IF NOT EXISTS cancelled_at timestamptz;
