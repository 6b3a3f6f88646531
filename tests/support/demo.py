"""`chatgpt-agent demo` in a process of its own."""

import os
import re
import signal
import subprocess
from pathlib import Path
from types import TracebackType

from tests.support.commands import PROGRAM, environ_with
from tests.support.postgres_server import url_of
from tests.support.waiting import SECONDS

LAST_LINE = "Ctrl-C"  # in it


class Demo:
    """A demonstration, which does not outlive the `with`. Its folder is in `folder`, and nothing else is. `lines` are
    its screen."""

    def __init__(self, folder: Path, *args: str, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self._args = args
        self._environ = {**environ_with(settings or {}), "TMPDIR": str(folder)}
        self.lines: list[str] = []

    def __enter__(self) -> "Demo":
        self.process = subprocess.Popen(
            [*PROGRAM, "demo", *self._args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environ,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=SECONDS)  # until its child has removed the folder, too
        if error is not None:
            error.add_note("\n".join(["It has printed:", *self.lines]))

    def wait(self) -> None:
        """Waits for the screen."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if LAST_LINE in line:
                break

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Sends a signal to all of its processes, as a terminal does; returns the exit code, and what it prints from
        then on."""
        os.killpg(self.process.pid, number)
        rest, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, rest

    # What it has printed.

    @property
    def text(self) -> str:
        """The screen."""
        return "\n".join(self.lines)

    def _printed(self, pattern: str) -> str:
        match = re.search(pattern, self.text)
        assert match is not None, self.text
        return match[1]

    @property
    def admin_url(self) -> str:
        """The URL of the administration."""
        return self._printed(r"Console +(http://127\.0\.0\.1:\d+)/console")

    @property
    def url(self) -> str:
        """The URL of the API."""
        return self._printed(r"curl (http://127\.0\.0\.1:\d+)/v1/")

    @property
    def name(self) -> str:
        """The admin's name."""
        return self._printed(r"name (\S+),")

    @property
    def password(self) -> str:
        """The admin's password."""
        return self._printed(r"password (\S+)")

    @property
    def token(self) -> str:
        """The token of a user."""
        return self._printed(r"Token +(cga_\S+)")

    @property
    def snippet(self) -> str:
        """The command that sends a request."""
        return self._printed(r"(?s)(curl http.*?'\n)")

    # Its folder and database.

    def files(self) -> list[str]:
        """The names of what is in the folder."""
        return [path.name for path in self.folder.iterdir()]

    def has(self, name: str) -> bool:
        """Whether PostgreSQL's folder has a file or folder of this name."""
        return any(self.folder.glob(f"*/postgres/{name}"))

    @property
    def database_url(self) -> str:
        """The URL of its database."""
        [data] = self.folder.glob("*/postgres/pg")
        return url_of(f"host='{data}' port=5432 user=postgres dbname=postgres")


def processes_below(folder: Path) -> list[str]:
    """Returns the processes with a current folder or a command line in this one."""
    ids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.name != str(os.getpid()) and (
                (process / "cwd").readlink().is_relative_to(folder)
                or os.fsencode(folder) in (process / "cmdline").read_bytes()
            ):
                ids.append(process.name)
        except OSError:  # it has ended
            continue
    return ids
