"""One technology each; the only file that knows it. Foreign errors leave as core.errors."""
