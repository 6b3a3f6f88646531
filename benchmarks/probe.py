"""Requests /healthz of an agent every few milliseconds, as a separate process, and prints the milliseconds of each
answer as JSON: `python -m benchmarks.probe URL SECONDS`. An event loop that is held answers late."""

import asyncio
import json
import sys
import time

from benchmarks.keepalive_client import KeptConnection, get

EVERY = 0.005  # seconds


async def probe(url: str, seconds: float) -> list[float]:
    """Returns the milliseconds of each answer. A request that was due while another one waited is not sent, but counts
    with the time that it would have waited: otherwise a second in which the loop was held would be one late answer
    among many."""
    client = await KeptConnection.open(url)
    request, times = get("/healthz"), []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        await client.ask(request)
        waited = time.perf_counter() - began
        times.append(waited * 1000)
        times.extend((waited - EVERY * missed) * 1000 for missed in range(1, int(waited / EVERY) + 1))
        await asyncio.sleep(EVERY - waited % EVERY)
    return times


if __name__ == "__main__":
    print(json.dumps(asyncio.run(probe(sys.argv[1], float(sys.argv[2])))))
