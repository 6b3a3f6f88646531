"""Users and tokens: their format, their settings, and what they may do."""
