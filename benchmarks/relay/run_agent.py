"""Runs the agent of the checkout in PYTHONPATH for `beside.py`, which belongs to another checkout.

It prints [URL, token, model, pid, pid of the database] as JSON, and answers each line of its standard input when the
agent has no postponed work. It ends with its standard input. Of the other checkout it uses only what 9cbc1be has, too.
"""

import asyncio
import json
import sys

from benchmarks.relay.__main__ import agent


async def run(openai_url: str) -> None:
    """Runs the agent until the end of standard input."""
    async with agent(openai_url) as (_, gateway):
        target = gateway.target
        print(json.dumps([target.url, target.token, target.model, gateway.pid, gateway.db_pid]), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            await gateway.settled()
            print(flush=True)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
