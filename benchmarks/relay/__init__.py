"""What relaying costs, beside nginx as a plain reverse proxy, the direct upstream and other gateways."""
