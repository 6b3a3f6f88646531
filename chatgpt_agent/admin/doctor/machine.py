"""Checks of this machine: disk and outbox of data_dir, the agent that uses it, the limit of open files."""

import errno
from datetime import UTC, datetime
from pathlib import Path

from chatgpt_agent.adapters.agent_process import sees_locks
from chatgpt_agent.adapters.config_checks import addresses_in
from chatgpt_agent.adapters.disk import Room, disk_room, write_seconds
from chatgpt_agent.adapters.open_files import file_limit_of, files_needed, hard_file_limit
from chatgpt_agent.adapters.outbox import read_state
from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.adapters.ports import try_ports
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.results import Result, counted, failure, ok, skipped, warning
from chatgpt_agent.admin.health import check_health
from chatgpt_agent.admin.overview import WAITING_SECONDS
from chatgpt_agent.core.errors import SetupError

SLOW_SECONDS = 0.1  # of a write with fsync: each request waits for two
LITTLE_ROOM = 512 * 1024**2  # bytes: an outage of PostgreSQL needs 700 bytes for each request, PostgreSQL itself more
NO_ROOM = 1024**2  # bytes: with less, the outbox soon takes no request (see adapters/outbox_space.py)
FEW_FILES = 100
# What lets a folder be written, by the error.
_REPAIR = "see `dmesg`"
_TO_WRITE = {
    errno.ENOSPC: "free space",
    errno.EDQUOT: "raise the quota, or free space",
    errno.EROFS: "mount it for writing",
    errno.ENOTDIR: "name a folder in data_dir",
    errno.EACCES: "give it to the agent's account, with mode 700",
}
READY_SECONDS = 3.0  # for an agent to answer


async def check_disk(examination: Examination) -> list[Result]:
    """The disk of data_dir takes writes, soon, and has room."""
    return await in_own_thread(lambda: _check_disk(examination.data_dir))


def _check_disk(folder: Path) -> list[Result]:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    room = disk_room(existing)
    results = of_room(folder, room)
    if existing != folder:
        return results or [ok(f"{_size(room.free)} are free")]
    try:
        seconds = write_seconds(folder)
    except OSError as error:
        text = f"{folder} cannot be written: {error.strerror} ({_size(room.free)} are free)"
        return [failure(text, f"{_TO_WRITE.get(error.errno or 0, _REPAIR)}: until then requests may be refused")]
    if seconds > SLOW_SECONDS:
        text = f"a write to {folder} takes {seconds * 1000:.0f} ms, and each request waits for two"
        results.append(warning(text, "put data_dir on a faster disk"))
    return results or [ok(f"{_size(room.free)} are free, a write takes {seconds * 1000:.1f} ms")]


def of_room(folder: Path, room: Room) -> list[Result]:
    """Returns what is to be said of the room on the disk of a folder: nothing, if there is enough."""
    results: list[Result] = []
    if room.free < NO_ROOM:
        results.append(failure(f"the disk of {folder} is full: {_size(room.free)} are free", "free space"))
    elif room.free < LITTLE_ROOM:
        results.append(warning(f"the disk of {folder} is nearly full: {_size(room.free)} are free", "free space"))
    if room.free_files is not None and room.free_files < FEW_FILES:
        results.append(failure(f"the disk of {folder} has room for {room.free_files} files", "remove files (df -i)"))
    return results


def _size(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:.1f} MiB"


async def check_outbox(examination: Examination) -> list[Result]:
    """No row waits long to be shipped to PostgreSQL."""
    folder = examination.data_dir
    state = await in_own_thread(lambda: read_state(folder))
    if state is None:
        return [ok("there is none yet; the first start creates it")]
    agent = await examination.agent_process()
    runs = "no agent runs on it" if agent is None else f"process {agent} runs on it"
    if not state.rows or state.oldest_at is None:
        begun = "" if agent is None else f", {counted(state.intents, 'request is', 'requests are')} in progress"
        return [ok(f"no row waits to be shipped{begun}; {runs}")]
    age = (datetime.now(UTC) - state.oldest_at).total_seconds()
    text = f"{counted(state.rows, 'row waits', 'rows wait')} to be shipped, the oldest began {age:.0f} s ago; {runs}"
    if agent is None:
        return [warning(text, "start the agent, which ships them")]
    if age > WAITING_SECONDS:
        return [
            warning(text, "PostgreSQL is away, read-only or too slow: see `database`, `rights` and the agent's log")
        ]
    return [ok(text)]


async def check_ready(examination: Examination) -> list[Result]:
    """The agent that runs on data_dir can serve requests, as its /readyz says."""
    agent, config = await examination.agent_process(), examination.config
    if agent is None:
        return await _check_ports(examination)
    if config.port == 0:
        return [skipped("port is 0, any that is free: it is not known where the agent listens")]
    health = await in_own_thread(lambda: check_health(config, ready=True, seconds=READY_SECONDS))
    return [ok(health.line) if health.ok else failure(health.line, "see the results below, and the agent's log")]


async def _check_ports(examination: Examination) -> list[Result]:
    """An agent could listen on its ports: none runs on data_dir, or it is not visible from here."""
    config, folder = examination.config, examination.data_dir
    try:
        await try_ports("port", config.port, addresses_in(config.bind_address))
        await try_ports("admin_port", config.admin_port, addresses_in(config.admin_bind_address))
    except SetupError as error:
        health = await in_own_thread(lambda: check_health(config, ready=True, seconds=READY_SECONDS))
        if not health.ok:
            return [failure(error.message)]
        if not sees_locks():  # so it may well run on this folder
            return [ok(health.line)]
        text = f"{health.line}, by an agent that does not run on {folder}"
        return [warning(text, "give each agent ports of its own, or run doctor where that agent runs")]
    return [ok(f"no agent runs on {folder}, and its ports are free")]


async def check_open_files(examination: Examination) -> list[Result]:
    """The limit of open files leaves room for max_concurrent_requests."""
    agent = await examination.agent_process()
    limit = None if agent is None else file_limit_of(agent)
    place = f"the agent (process {agent})" if limit is not None else "this shell"
    limit = hard_file_limit() if limit is None else limit
    requests = examination.config.max_concurrent_requests
    needed = files_needed(requests)
    text = f"{place} may open {limit} files, and max_concurrent_requests: {requests} needs {needed}"
    if limit < needed:
        return [
            warning(f"{text}: it is lowered", f"LimitNOFILE={needed} in the unit of systemd, or `ulimit -n {needed}`")
        ]
    return [ok(text)]
