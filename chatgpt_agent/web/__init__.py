"""Thin Tornado handlers: parse, call a service or a use case, answer."""
