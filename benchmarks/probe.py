"""Asks an agent's /healthz every few milliseconds for some time, as a process of its own, and prints the milliseconds
of each answer as JSON: `python -m benchmarks.probe URL SECONDS`. An event loop that is held answers late."""

import asyncio
import json
import sys
import time

from benchmarks.keepalive_client import KeptConnection, get

EVERY = 0.005  # seconds


async def probe(url: str, seconds: float) -> list[float]:
    """Milliseconds of each answer. Questions that were due while one waited are not asked, but count with what they
    would have waited: else a second in which the loop was held would be one late answer among many."""
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
