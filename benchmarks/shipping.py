"""Compares the statement that ships rows in several checkouts: `python -m benchmarks.shipping --beside NAME=DIR
[--beside …] [--rows N] [--rounds N]`.

Each checkout has a PostgreSQL of its own, with the same number of rows, and ships batches of 500 rows on one
connection. They take turns, in another order each round. Other programs change the milliseconds of a batch, and less
its processor time, which is that of all processes of PostgreSQL.
"""

import argparse
import contextlib
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg2
from psycopg2.extensions import parse_dsn

from benchmarks.growth import BATCH
from benchmarks.loss import command_line, server_version, surroundings
from benchmarks.proc_stats import children
from benchmarks.relay.beside import Checkout, checkout_from

WORKER = Path(__file__).with_name("ship_worker.py")
BATCHES = 24  # of a round, as in the worker
THIS = Checkout("this", Path(__file__).parent.parent)
TICKS = os.sysconf("SC_CLK_TCK")


class Round(msgspec.Struct, frozen=True):
    """Milliseconds of a batch in the median, and of processor time; bytes of the write-ahead log for each row."""

    wall: float
    processor: float
    log: float


class Shipper:
    """A checkout with its PostgreSQL."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.dsn = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a worker ended; its errors are above")
        return line.strip()

    def ship(self) -> Round:
        """Ships the batches of a round."""
        assert self._process.stdin is not None
        processor, log = self._processor_seconds(), self._log_position()
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        wall = float(self._line())
        time.sleep(0.2)  # until the postmaster has taken over the time of the connection's process
        used, written = self._processor_seconds() - processor, self._log_position() - log
        return Round(wall, used * 1000 / BATCHES, written / BATCHES / BATCH)

    def quiet(self) -> None:
        """Leaves the server no other work: no checkpoint, after which whole pages are written, and no vacuum."""
        for setting in ("checkpoint_timeout = '1h'", "max_wal_size = '8GB'", "autovacuum = off"):
            self._query(f"ALTER SYSTEM SET {setting}")
        self._query("SELECT pg_reload_conf()")
        self._query("CHECKPOINT")

    def _log_position(self) -> int:
        return int(self._query("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"))

    def _query(self, sql: str) -> str:
        with contextlib.closing(psycopg2.connect(self.dsn)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute(sql)
            return str(next(iter(cursor.fetchall()), ("",))[0]) if cursor.description else ""

    def _processor_seconds(self) -> float:
        """Returns the processor time of all processes of the server, of those that have ended, too."""
        postmaster = int((Path(parse_dsn(self.dsn)["host"]) / "postmaster.pid").read_text().split("\n")[0])
        return _ticks(postmaster, 4) / TICKS + sum(_ticks(pid, 2) for pid in children(postmaster)) / TICKS


def _ticks(pid: int, fields: int) -> int:
    """Returns the first of utime, stime, cutime and cstime (proc_pid_stat(5))."""
    with contextlib.suppress(OSError):
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11 : 11 + fields]))
    return 0


@contextlib.contextmanager
def shipper(checkout: Checkout, options: argparse.Namespace) -> Iterator[Shipper]:
    """Runs the worker of a checkout."""
    # -P: the modules beside the worker belong to this checkout.
    python = sys.executable if checkout is THIS else checkout.folder / ".venv/bin/python"
    command = (python, "-P", WORKER, *map(str, (options.rows, options.users, options.models)))
    environment = os.environ | {"PYTHONPATH": str(checkout.folder)}
    with subprocess.Popen(
        command, cwd=checkout.folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Shipper(process)
        assert process.stdin is not None
        process.stdin.close()  # this ends it


def report(rounds: dict[str, list[Round]]) -> str:
    """Returns the table: medians, and of the ratios to this checkout within each round."""
    heads = ["ms a batch", "CPU ms a batch", "least", "WAL bytes a row", "CPU beside this checkout's"]
    lines = [f"| {' | '.join(['checkout', *heads])} |", f"|---|{'---:|' * len(heads)}"]
    for name, results in rounds.items():
        processor = [each.processor for each in results]
        ratios = sorted(each.processor / own.processor for each, own in zip(results, rounds[THIS.name], strict=True))
        cells = [
            f"{statistics.median(each.wall for each in results):.1f}",
            f"{statistics.median(processor):.1f}",
            f"{min(processor):.1f}",
            f"{statistics.median(each.log for each in results):,.0f}",
            "" if name == THIS.name else f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        ]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=checkout_from, action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--rows", type=int, default=200_000, help="in each ledger before the first round")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    rounds: dict[str, list[Round]] = {}
    with contextlib.ExitStack() as stack:
        shippers = {each.name: stack.enter_context(shipper(each, options)) for each in (THIS, *options.beside)}
        for each in shippers.values():
            each.quiet()
            for _ in range(2):  # warms up
                each.ship()
        for number in range(options.rounds):
            for name in random.Random(number).sample(list(shippers), len(shippers)):
                rounds.setdefault(name, []).append(shippers[name].ship())
        print(report({name: rounds[name] for name in shippers}))
        version = server_version(shippers[THIS.name].dsn)
    print("", *surroundings(command_line("benchmarks.shipping"), version), sep="\n")


if __name__ == "__main__":
    main()
