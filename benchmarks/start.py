"""Measures the time of a start and the memory of an idle agent: `python -m benchmarks.start [--runs N]`.

Starts the agent on an existing embedded database that does not run, as after a reboot, waits until /readyz answers 200,
reads the resident memory of the agent's process a second later, and stops it. Prints medians.
"""

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path


def start(folder: Path) -> tuple[float, float]:
    """Returns the seconds until ready, and the MB of resident memory when idle."""
    settings = {"DATABASE_URL": "embedded", "DATA_DIR": str(folder / "data"), "PORT": "0", "ADMIN_PORT": "0"}
    log = folder / "log"
    began = time.monotonic()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "chatgpt_agent", "serve"], stderr=errors, env={**os.environ, **settings}
        )
    try:
        while not _ready(log):
            if process.poll() is not None or time.monotonic() - began > 60:
                sys.exit(f"the agent did not start:\n{log.read_text()}")
            time.sleep(0.01)
        seconds = time.monotonic() - began
        time.sleep(1)
        status = Path(f"/proc/{process.pid}/status").read_text()
        return seconds, int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _ready(log: Path) -> bool:
    match = re.search(r"chatgpt-agent \S+ listens on http://\S+:(\d+)", log.read_text())
    if match is None:
        return False
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{match[1]}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    folder = Path(tempfile.mkdtemp(prefix="agt"))
    folder.chmod(0o755)
    try:
        first, _ = start(folder)
        starts = [start(folder) for _ in range(runs)]
    finally:
        shutil.rmtree(folder)
    seconds, megabytes = zip(*starts, strict=True)
    print(f"very first start (creates the database): {first:.2f} s")
    middle = statistics.median(seconds)
    print(f"start to ready, existing database, {runs} runs: median {middle:.2f} s, max {max(seconds):.2f} s")
    print(f"resident memory, idle: median {statistics.median(megabytes):.0f} MB")


if __name__ == "__main__":
    main()
