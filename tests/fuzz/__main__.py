"""Fuzzes what reads foreign bytes, one target after the other, and prints a line for each.

    python -m tests.fuzz [--seconds 5] [--keep FOLDER] [TARGET ...]

Ends with 1 where something was found; the input that shows it is then in `build/fuzz`. Needs the extra `fuzz`.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.seeds import SEEDS, dictionary
from tests.fuzz.targets import TARGETS

FINDINGS = Path("build/fuzz")
MAX_INPUT = 4096  # bytes
_STATUS = re.compile(r"^#(\d+)\s+(INITED|DONE)\s+cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)


def write_seeds(name: str, folder: Path) -> None:
    """Writes what a target begins with into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(SEEDS[name]()):
        (folder / f"seed-{number}").write_bytes(text)


def write_dictionary(path: Path) -> None:
    """Writes the dictionary of libFuzzer."""
    path.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in dictionary()))


def fuzz(name: str, seconds: int, folder: Path) -> tuple[int, str]:
    """Runs one target; returns the exit status and what libFuzzer printed."""
    write_seeds(name, folder / name)
    write_dictionary(folder / "dictionary")
    FINDINGS.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_INPUT}", f"-dict={folder / 'dictionary'}", "-timeout=10"]
    options += ["-rss_limit_mb=2048", f"-artifact_prefix={FINDINGS}/{name}-", str(folder / name)]
    command = [sys.executable, "-m", "tests.fuzz.one_target", name, *options]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    return run.returncode, run.stdout


def report(name: str, output: str) -> str:
    """Returns a line with the figures of a run: executions, edges covered by the seeds and in the end, inputs kept."""
    figures = {kind: (runs, edges, corpus) for runs, kind, edges, _, corpus in _STATUS.findall(output)}
    _, first, _ = figures.get("INITED", ("", "?", ""))
    runs, last, corpus = figures.get("DONE", ("?", "?", "?"))
    return f"{name}: {runs} executions, coverage {first} to {last} edges, {corpus} inputs"


def main() -> int:
    """Runs the targets; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzzes what reads foreign bytes.")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=5, help="of each target")
    parser.add_argument("--keep", type=Path, help="a folder that keeps the inputs for the next run")
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        sys.stdout.write("not fuzzed: atheris is not installed (the extra `fuzz`; it has no wheel for this Python)\n")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.targets or TARGETS:
            status, output = fuzz(name, arguments.seconds, arguments.keep or Path(temporary))
            if status:
                sys.stdout.write(output[-4000:])
                return 1
            sys.stdout.write(report(name, output) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
