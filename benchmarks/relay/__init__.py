"""Measures the cost of relaying, next to nginx as a plain reverse proxy, the direct upstream and other gateways."""
