"""Every SQL statement of the running program. Values go in as parameters, never as text."""
