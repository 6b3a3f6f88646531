"""Thin Tornado handlers: parse, ask a service, answer."""
