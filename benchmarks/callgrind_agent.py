"""Runs the agent of the checkout in PYTHONPATH in callgrind, for benchmarks.instructions of another checkout.

Prints [URL, token, pid] as JSON, and ends with its standard input. Of the other checkout it uses only what 9cbc1be has,
too.
"""

import asyncio
import json
import signal
import sys
from pathlib import Path

from benchmarks.fleet import AgentProcess, Fleet, environ_with


class CountedAgent(AgentProcess):
    """The agent in callgrind, which counts nothing at first."""

    out = Path()  # the file that callgrind writes

    async def start(self) -> None:
        """Starts the process."""
        callgrind = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self.out}")
        environment = environ_with(self.settings) | {"PYTHONHASHSEED": "0"}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *callgrind, sys.executable, "-m", "chatgpt_agent", "serve", stderr=log, env=environment
            )


async def serve(openai_url: str, out: str, model: str) -> None:
    """Runs the agent until the end of standard input."""
    async with Fleet(openai_url, log_level="info") as fleet:
        await fleet.set_up(1, {model: ("0.10", "0.01", "0.50")})
        fleet.agent = agent = CountedAgent(fleet.folder, fleet.agent.settings)
        agent.out = Path(out)
        await agent.start()
        await agent.until_ready()
        print(json.dumps([agent.url, fleet.tokens[0], agent.pid]), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await agent.end(signal.SIGTERM)


asyncio.run(serve(*sys.argv[1:]))
