"""Proof 2, crash points: the ledger is right if the process stops at any point between an intent and its shipped row.

    python -m pytest tests/proofs/test_crash_points.py -s

The points are enumerated, not sampled: while a request goes through the real Relay, Ledger and Outbox, each step that
is visible outside the process or on the disk is a point. At each, the state outside the process is copied: the files of
the outbox, the content of PostgreSQL, what OpenAI and the client have received. From each copy a new agent starts. A
COMMIT also stops in the middle of its write.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.curl.head import Head
from chatgpt_agent.adapters.curl.upstream_client import UpstreamClient
from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.core.access.identity import COUNTED_MODEL, Identity, Token, User
from chatgpt_agent.core.budget.max_cost import Assumptions
from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.errors import AgentError, UpstreamTruncated, UpstreamUnreachable
from chatgpt_agent.core.http.endpoints import CHAT
from chatgpt_agent.core.http.request import parse_request
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.name_counter import NameCounter
from chatgpt_agent.core.usage import Usage
from chatgpt_agent.runtime.abandoned import AbandonedAnswers
from chatgpt_agent.runtime.admission import Admissions
from chatgpt_agent.runtime.budgets import Budgets
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.ledger import Ledger
from chatgpt_agent.runtime.memory import Memory
from chatgpt_agent.runtime.rate_limiter import RateLimiter
from chatgpt_agent.runtime.relay import Dispatch, Relay
from tests.proofs.simulation import (
    StillLoop,
    check_cost,
    check_daily_sums,
    check_final,
    copy_files,
    fast_folder,
    rows_by_id,
    ship_everything,
    show,
    still_loop,
)
from tests.support.factories import BOOK, PRICE, request_id
from tests.support.observers import IgnoreRows, ignore
from tests.support.postgresql import FakeStore, PostgreSQL

pytestmark = pytest.mark.slow

CANARY = "a message that must not be stored"
USAGE = Usage(input=1007, output=31, cached=7, reasoning=3)
COUNTS = {
    "prompt_tokens": USAGE.input,
    "completion_tokens": USAGE.output,
    "prompt_tokens_details": {"cached_tokens": USAGE.cached},
    "completion_tokens_details": {"reasoning_tokens": USAGE.reasoning},
}
ANSWER_FIELDS = {"id": "chatcmpl-1", "model": PRICE.model}
ANSWER = msgspec.json.encode({**ANSWER_FIELDS, "choices": [{"message": {"content": CANARY}}], "usage": COUNTS})


def event(**fields: Any) -> bytes:
    """Returns an event of a stream."""
    return b"data: %s\n\n" % msgspec.json.encode({**ANSWER_FIELDS, **fields})


WORD = event(choices=[{"delta": {"content": CANARY}}])
STREAM = [WORD, WORD, event(choices=[], usage=COUNTS), b"data: [DONE]\n\n"]


class Script(msgspec.Struct, frozen=True):
    """What OpenAI and the client do. `leaves_at`: the client disconnects after this number of parts; 0: before the
    request is sent. `room`: bytes of memory for answers."""

    name: str
    points: int  # the number of points with PostgreSQL up; another number means that steps were added or removed
    state: State  # of the row if the process does not die
    pieces: list[bytes | AgentError]
    status: int = 200
    streamed: bool = False
    leaves_at: int | None = None
    room: int = 1 << 20


SCRIPTS = [
    Script("whole answer", 43, State.DONE, [ANSWER[:50], ANSWER[50:]]),
    Script("answer that is not held", 49, State.DONE, [ANSWER[:50], ANSWER[50:90], ANSWER[90:]], room=0),
    Script("stream", 51, State.DONE, [*STREAM], streamed=True),
    Script("stream in one packet", 43, State.DONE, [b"".join(STREAM)], streamed=True),
    Script("refusal", 41, State.UPSTREAM_ERROR, [b'{"error":{}}'], status=429),
    Script("not reached", 35, State.NOT_SENT, []),
    Script("answer cut off", 39, State.INCOMPLETE, [ANSWER[:50], UpstreamTruncated(sent=True)]),
    Script("stream cut off", 41, State.INCOMPLETE, [WORD, UpstreamTruncated(sent=True)], streamed=True),
    Script("disconnect in mid-stream", 47, State.DONE, [*STREAM], streamed=True, leaves_at=1),
    Script("disconnect before it is sent", 33, State.NOT_SENT, [], leaves_at=0),
]
MODES = ["up", "down", "answer lost"]  # the state of PostgreSQL


class Point(msgspec.Struct, kw_only=True):
    """The state outside the process when it stopped."""

    name: str
    folder: Path
    server: PostgreSQL
    sent: int  # requests that OpenAI received
    billed: bool  # whether OpenAI has counted
    whole: bool  # whether the client received the last byte of the answer
    pieces: int  # that the client received
    acknowledged: bool  # whether the agent knew that the row was written


class World:
    """The state outside the process, and a copy of it at each point."""

    def __init__(self, root: Path, script: Script) -> None:
        self.root = root
        self.folder = root / "live"
        self.script = script
        self.server = PostgreSQL()
        self.points: list[Point] = []
        self.watching = False
        self.dispatch: Dispatch | None = None
        self.sent = self.pieces = 0
        self.billed = self.whole = False

    def point(self, name: str, *, cut_log_at: int | None = None) -> None:
        """Records a point at which the process may stop, if given with only this length of the log written."""
        if not self.watching:
            return
        times = 1 + sum(point.name.partition(" (")[0] == name for point in self.points)
        folder = self.root / str(len(self.points))
        copy_files(self.folder, folder)
        if cut_log_at is not None:
            with (folder / "outbox.db-wal").open("r+b") as file:
                file.truncate(cut_log_at)
        acknowledged = self.dispatch is not None and self.dispatch.row is not None
        name = name if times == 1 else f"{name} ({times})"
        self.points.append(
            Point(
                name=name,
                folder=folder,
                server=self.server.copy(),
                sent=self.sent,
                billed=self.billed,
                whole=self.whole,
                pieces=self.pieces,
                acknowledged=acknowledged,
            )
        )

    def statement(self, name: str) -> None:
        """Records a point at a statement of PostgreSQL that has rows."""
        if name.endswith((" ship", " dead letter")):
            self.point(name)

    def connect(self, path: Path) -> sqlite3.Connection:
        """Opens the outbox's file so that its writes are points."""
        db = sqlite3.connect(path, isolation_level=None, factory=_Watched)
        db.world = self
        return db


class _Watched(sqlite3.Connection):
    """A connection with points before and after each write, and within COMMIT, whose write may be incomplete."""

    world: World
    writing = ""

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if sql == "COMMIT" and self.writing:
            return self._commit()
        writes = sql.startswith(("INSERT INTO", "UPDATE", "DELETE"))
        if not writes:
            return super().execute(sql, parameters)
        step = " ".join(sql.split()[:3])
        self.writing = self.writing or step
        self.world.point(f"before {step}")
        cursor = super().execute(sql, parameters)
        self.world.point(f"after {step}")
        return cursor

    def _commit(self) -> sqlite3.Cursor:
        step, self.writing = f"COMMIT of {self.writing}", ""
        log = self.world.folder / "outbox.db-wal"
        self.world.point(f"before {step}")
        before, count = log.stat().st_size if log.exists() else 0, len(self.world.points)
        last = self.world.points[-1] if self.world.points else None
        cursor = super().execute("COMMIT")
        after = log.stat().st_size
        assert after > before, "the log was started again: it cannot be cut below"
        for part in (1, 2, 3):
            self.world.point(f"at {part}/4 of {step}", cut_log_at=before + (after - before) * part // 4)
        self.world.point(f"a byte short of {step}", cut_log_at=after - 1)
        assert last is None or all(point.sent == last.sent for point in self.world.points[count:])
        self.world.point(f"after {step}")
        return cursor


class FakeUpstream:
    """The upstream client of the relay, with OpenAI simulated."""

    settings = Config().upstream

    def __init__(self, world: World) -> None:
        self.loop = asyncio.get_running_loop()
        self._world = world

    def send(
        self,
        url: str,
        body: bytes,
        headers: list[tuple[str, str]],
        *,
        method: str,
        on_sent: Callable[[], None],
        owner: int,
    ) -> "FakeExchange":
        """Sends a request."""
        self._world.point("before the request is sent")
        assert CANARY.encode() in body
        on_sent()
        return FakeExchange(self._world)


class FakeExchange:
    """One answer with the parts of its script."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._script = world.script
        self._pieces = list(world.script.pieces)
        self.settings = FakeUpstream.settings
        self.sent = self._script.name != "not reached"
        world.sent += self.sent
        world.point("after the request is sent")

    async def head(self) -> Head:
        """Returns status and header fields."""
        if not self.sent:
            raise UpstreamUnreachable(sent=False)
        self._world.point("before the first byte of OpenAI")
        kind = "text/event-stream" if self._script.streamed else "application/json"
        return Head(self._script.status, [("content-type", kind)])

    async def read(self) -> bytes:
        """Returns the next part; at the end no bytes."""
        self._world.point("before a piece of OpenAI")
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, AgentError):
            raise piece
        self._world.billed = self._world.billed or b'"usage":{' in piece or not self._pieces
        self._world.point("after a piece of OpenAI")
        return piece

    async def stream_to(self, on_chunk: Callable[[bytes], bool]) -> bool:
        """Passes the parts on, until the end or until the sink is full."""
        while piece := await self.read():
            if not on_chunk(piece):
                return False
        return True

    def abort(self, error: AgentError | None = None) -> None:
        """Ends the answer."""
        self._pieces = [error] if error else []


class _Directory:
    """The part of the directory that a dispatch uses."""

    book = BOOK

    def upstream_key(self, user: User) -> str:
        """The OpenAI key of a user."""
        return "sk-of-alice"


async def live(loop: StillLoop, world: World, mode: str) -> None:
    """Runs a process from its start until its row is shipped or cannot be shipped."""
    outbox = Outbox(world.folder, connect=world.connect)
    ledger = Ledger(outbox, FakeStore(world.server, watch=world.statement), observer=IgnoreRows())
    await ledger.open_outbox()
    await ledger.start_shipping()
    await loop.calm(outbox)
    world.watching = True
    world.server.up = mode != "down"
    world.server.lost_answers = int(mode == "answer lost")
    await serve(world, ledger)
    await loop.pass_time(outbox)
    world.server.up = True
    await loop.pass_time(outbox)
    world.point("at the end")
    world.watching = False
    await ledger.close()


async def serve(world: World, ledger: Ledger) -> None:
    """Handles a request from its admission to the last byte that the client receives."""
    upstream = cast(UpstreamClient, FakeUpstream(world))
    directory = cast(Directory, _Directory())
    admissions = Admissions(
        directory=directory,
        rate_limiter=RateLimiter(lambda: 0.0),
        budgets=Budgets(on_threshold=ignore),
        assumptions=Assumptions(attachment_tokens=1000, output_tokens=1000),
        max_requests=1,
        unpriced_models=NameCounter(COUNTED_MODEL),
    )
    relay = Relay(
        directory=directory,
        ledger=ledger,
        upstream=upstream,
        urls={CHAT.path: "http://127.0.0.1:1/v1/chat/completions"},
        abandoned=AbandonedAnswers(seconds=60.0, limit=1),
    )
    identity = Identity(
        User(id=1, name="alice", upstream_key=b"", disabled=False), Token(id=11, user_id=1, digest=b"", revoked=False)
    )
    body = {"model": PRICE.model, "messages": [{"role": "user", "content": CANARY}], "stream": world.script.streamed}
    request = run_to_end(parse_request(CHAT, msgspec.json.encode(body)))
    world.point("before the request is admitted")
    admission = admissions.admit(identity, request, request_id=UUID(str(request_id(1))))
    world.dispatch = dispatch = relay.dispatch(identity.user, request, admission, Memory(world.script.room).share(1))
    try:
        await read(world, dispatch)
    except AgentError:
        world.point("after the client receives an error")
    finally:
        await dispatch.close()


class Client:
    """The client of an answer that comes in parts, which may disconnect."""

    def __init__(self, world: World, dispatch: Dispatch) -> None:
        self._world = world
        self._dispatch = dispatch
        self._received = b""

    def write(self, piece: bytes) -> bool:
        """Receives a part."""
        world, leaves_at = self._world, self._world.script.leaves_at
        if not piece or (leaves_at is not None and world.pieces >= leaves_at):
            return True
        world.point("before a part is sent to the client")
        self._received += piece
        world.pieces += 1
        world.whole = b"[DONE]" in self._received or self._received == ANSWER
        world.point("after a part is sent to the client")
        if world.pieces == leaves_at:
            self._dispatch.on_disconnect()
        return True

    async def wait_for_room(self) -> None:
        """Returns at once: this client reads fast."""


async def read(world: World, dispatch: Dispatch) -> None:
    """Sends the request and lets the client read the answer."""
    if world.script.leaves_at == 0:
        dispatch.on_disconnect()
    answering = await dispatch.send({})
    if await answering.is_stream():
        await answering.stream_to(Client(world, dispatch))
        return
    if not await answering.whole():
        client = Client(world, dispatch)
        async for part in answering.pieces():
            client.write(part)
        return
    world.point("before a part is sent to the client")
    world.pieces, world.whole = 1, True
    world.point("after a part is sent to the client")


async def recover(loop: StillLoop, point: Point) -> None:
    """Runs the next process on the files of the last one, until all rows are shipped."""
    outbox = Outbox(point.folder)
    ledger = Ledger(outbox, FakeStore(point.server), observer=IgnoreRows())
    await ledger.open_outbox()
    await ledger.start_shipping()
    await ship_everything(loop, ledger, outbox)
    assert await outbox.intents() == [], "I3: an intent without a row"
    await ledger.close()


def check(point: Point, script: Script, before: dict[Any, Any]) -> str:
    """Checks the invariants after the restart; returns the state of the row."""
    rows = rows_by_id(point.server)
    check_daily_sums(point.server)
    check_final(point.server, before)
    assert not point.server.dead_letters
    row = rows.get(str(request_id(1)))
    assert len(rows) == (row is not None)
    if row is None:
        assert not point.sent, "I3: it was sent, and there is no row"
        assert not point.pieces, "I1: the client received an answer, and there is no row"
        return "no row"
    check_cost(row, {PRICE.id: PRICE})
    assert row["state"] in (script.state, State.UNKNOWN)
    if point.acknowledged or point.whole:
        assert row["state"] == script.state, "I1: written, or delivered whole, and then unknown"
    if row["state"] == State.DONE:
        assert point.billed, "I5: done, and OpenAI has not counted"
        tokens = tuple(row[f"{name}_tokens"] for name in ("input", "output", "cached", "reasoning"))
        assert tokens == (USAGE.input, USAGE.output, USAGE.cached, USAGE.reasoning), "I5"
    return str(row["state"])


def points_of(script: Script, mode: str) -> dict[str, str]:
    """Stops the process at every point of a script; returns the state of the row for each point."""
    with fast_folder() as root, still_loop() as loop:
        world = World(root, script)
        loop.run(live(loop, world, mode))
        assert world.points[-1].acknowledged
        states = {}
        for point in world.points:
            before = {key: dict(row) for key, row in point.server.usage.items()}
            for file in point.folder.iterdir():
                assert CANARY.encode() not in file.read_bytes(), "I9: a message is in the outbox"
            loop.run(recover(loop, point))
            states[point.name] = check(point, script, before)
    return states


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_ledger_is_right_wherever_the_process_stops(script: Script) -> None:
    """The invariants hold for every point, with PostgreSQL up, down, and up with a lost answer."""
    tables = {mode: points_of(script, mode) for mode in MODES}
    show(f"\n\n{script.name:48}", *(f"{mode:12}" for mode in MODES))
    for name in dict.fromkeys(name for table in tables.values() for name in table):
        show(f"{name:48}", *(f"{table.get(name, '-'):12}" for table in tables.values()))
    counts = [len(table) for table in tables.values()]
    show(f"{sum(counts)} points: {counts}")
    assert counts == [script.points, script.points + 1, script.points + 2]


def test_the_ledger_is_right_wherever_the_next_process_stops() -> None:
    """The invariants hold even if the process that recovers a request stops at any point."""
    with fast_folder() as root, still_loop() as loop:
        first = World(root / "first", SCRIPTS[1])
        first.root.mkdir()
        loop.run(live(loop, first, "up"))
        start = next(point for point in first.points if point.name == "after a piece of OpenAI")
        second = World(root / "second", Script("recovery", 0, State.UNKNOWN, []))
        second.root.mkdir()
        second.folder, second.server, second.sent, second.watching = start.folder, start.server, 1, True

        async def recover_with_points() -> None:
            outbox = Outbox(second.folder, connect=second.connect)
            ledger = Ledger(outbox, FakeStore(second.server, watch=second.statement), observer=IgnoreRows())
            await ledger.open_outbox()
            await ledger.start_shipping()
            await ship_everything(loop, ledger, outbox)
            second.point("at the end")
            second.watching = False
            await ledger.close()

        loop.run(recover_with_points())
        for point in second.points:
            loop.run(recover(loop, point))
            assert check(point, second.script, {}) == "unknown"
    show(*(f"\n{point.name}" for point in second.points))
    assert len(second.points) == 23
