"""Ships rows for benchmarks.shipping with the checkout that PYTHONPATH names, and that checkout's own benchmarks.

Prints the connection string of a filled database, then a median in milliseconds for each line that it reads. The other
checkout may be any version since 9cbc1be.
"""

import asyncio
import random
import sys

from benchmarks import growth
from benchmarks.fleet import Fleet
from benchmarks.upstream import Upstream

growth.BATCHES = 24


async def serve(rows: int, users: int, models: int) -> None:
    """Ships a round of batches for each line of the standard input."""
    async with Upstream(random.Random(1)) as upstream, Fleet(upstream.url, log_level="warning") as fleet:
        await fleet.set_up(1, {"model1": ("1", "1", "2")})
        await asyncio.to_thread(growth.fill, fleet, growth.Size(rows, users, models))
        print(fleet.postgres.dsn, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(1000 * await growth.ship_seconds(fleet.postgres.dsn, users, models), flush=True)


asyncio.run(serve(*map(int, sys.argv[1:])))
