"""`doctor`: everything that an agent depends on, checked once. A check is a function and a line in `checks.py`."""
