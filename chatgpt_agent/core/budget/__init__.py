"""Budgets and rate limits: how much may be spent or used, and in which time."""
