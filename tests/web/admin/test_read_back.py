"""Whatever REST accepts is read back equal: a value that one writer takes and a reader refuses would stop agents."""

import itertools
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from tests.support.administrator import KEY, Administrator
from tests.support.waiting import until

pytestmark = pytest.mark.shared_agent

EXAMPLES = settings(
    max_examples=60,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# Values at the edges of what a column holds, and beyond.
TEXTS = st.one_of(
    st.text(max_size=130),
    st.sampled_from(
        ["\x00", "a\x00b", "\ud800", "\U0010ffff", "e\u0301", "' OR 1=1--", "%s", "\\", "x" * 128, "x" * 10_000]
    ),
)
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.sampled_from([0, -0.0, 1, 1.0, 10**12, 10**12 + 1, 2**63 - 1, 2**63, 1e300, None])
)
TIMES = st.one_of(
    st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
    st.sampled_from(
        [
            "9999-12-31T23:59:59-05:00",
            "9999-12-31T23:59:59.999999Z",
            "0001-01-01T00:00:00+01:00",
            "0001-01-01T00:00:00+14:00",
            "9998-12-31T23:59:59.999999Z",
            "9998-12-31T23:00:00-02:00",
            "2000-01-01T00:00:00Z",
            "2000-01-01T00:00:00+00:01",
            "2030-01-01 12:00",
            "infinity",
            "-infinity",
            "0044-03-15 BC",
            None,
        ]
    ),
)
AMOUNTS = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.decimals(0, 10**9, places=10).map(lambda amount: f"{amount:f}"),
    st.sampled_from(
        ["-0", "0.0", "1e400", "1e-400", "NaN", "1." + "0" * 30, "0." + "1" * 30, "1000000.0000000001", "９"]
    ),
)
NAMES = st.lists(TEXTS, min_size=1, max_size=3)
NETWORKS = st.lists(
    st.sampled_from(
        ["10.0.0.0/8", "::/0", "2001:db8::1", "::ffff:192.0.2.0/120", "10.0.0.1/8", "1", "fe80::1%eth0", "\x00"]
    ),
    min_size=1,
    max_size=3,
)

_names = itertools.count()


def body_of(fields: dict[str, st.SearchStrategy[Any]], required: dict[str, st.SearchStrategy[Any]] = {}) -> Any:  # noqa: B006
    """Objects with some of these fields."""
    return st.fixed_dictionaries(required, optional=fields)


def same(value: Any, stored: Any) -> bool:
    """Whether a stored value is the one that was sent: times and amounts may be written in another form."""
    if isinstance(stored, str) and isinstance(value, str) and value != stored:
        try:
            return Decimal(value) == Decimal(stored)
        except ArithmeticError:
            sent = datetime.fromisoformat(value)
            return (sent if sent.tzinfo else sent.replace(tzinfo=datetime.fromisoformat(stored).tzinfo)) == (
                datetime.fromisoformat(stored)
            )
    return bool(value == stored)


class Round:
    """Sends a change, and where it is accepted reads the object back."""

    def __init__(self, admin: Administrator, io_loop: IOLoop) -> None:
        self.admin = admin
        self.io_loop = io_loop
        self.accepted = 0

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Returns the JSON of an answer, or None for a refusal, which must be plain."""
        answer = self.io_loop.run_sync(lambda: self.admin.ask(method, path, body))
        if answer.status >= 400:
            assert answer.status in (400, 404, 422), (body, answer.body)
            assert "The database refuses" not in answer.error["message"], (body, answer.body)
            return None
        self.accepted += 1
        return answer.json

    def check(self, sent: dict[str, Any], stored: dict[str, Any]) -> None:
        """Compares each field that was sent with what is stored."""
        for name, value in sent.items():
            if name != "openai_key":
                assert same(value, stored[name]), (name, value, stored[name])


@pytest.fixture
def round_trip(admin: Administrator, io_loop: IOLoop) -> Round:
    """Changes and reads over REST."""
    return Round(admin, io_loop)


LIMITS: dict[str, st.SearchStrategy[Any]] = {"rpm": NUMBERS, "tpm": NUMBERS, "concurrency": NUMBERS}
USER_BODY = body_of(
    {**LIMITS, "comment": TEXTS, "allowed_models": st.none() | NAMES, "standard_tier_only": st.booleans()}
)
TOKEN_BODY = body_of(
    {**LIMITS, "label": TEXTS, "expires_at": TIMES, "allowed_models": st.none() | NAMES, "allowed_networks": NETWORKS}
)
PRICE_BODY = body_of({"effective_at": TIMES, "cached_input": AMOUNTS}, {"input": AMOUNTS, "output": AMOUNTS})
SURCHARGE_BODY = body_of(
    {"effective_at": TIMES, "model": st.none() | TEXTS},
    {"kind": st.sampled_from(["web_search", "file_search", "code_interpreter", "song"]), "amount": AMOUNTS | st.none()},
)


def test_users_are_read_back(round_trip: Round) -> None:
    """Names are unique, so each example has its own."""

    @EXAMPLES
    @given(name=TEXTS, body=USER_BODY)
    def check(name: str, body: dict[str, Any]) -> None:
        unique = f"{name[:100]}{next(_names)}"
        sent = {"name": unique, "openai_key": KEY, **body}
        if round_trip.ask("POST", "/users", sent):
            round_trip.check(sent, round_trip.ask("GET", f"/users/{quote(unique, safe='')}"))

    check()
    assert round_trip.accepted > 5


def test_tokens_are_read_back(round_trip: Round) -> None:
    """What is set stands in the token's own answer and in the list."""

    @EXAMPLES
    @given(TOKEN_BODY)
    def check(body: dict[str, Any]) -> None:
        if round_trip.ask("PATCH", "/tokens/1", body):
            round_trip.check(body, round_trip.ask("GET", "/tokens/1"))
            assert round_trip.ask("GET", "/tokens")

    check()
    assert round_trip.accepted > 5


def test_prices_are_read_back(round_trip: Round) -> None:
    """Amounts keep their last digit, and dates their moment."""

    @EXAMPLES
    @given(PRICE_BODY)
    def check(body: dict[str, Any]) -> None:
        model = f"model-{next(_names)}"
        if stored := round_trip.ask("POST", "/prices", {"model": model, **body}):
            [price] = round_trip.ask("GET", f"/price-history?model={model}")["data"]
            assert price == stored
            sent = {name: value for name, value in body.items() if value is not None}
            round_trip.check(sent, price)

    check()
    assert round_trip.accepted > 5


def test_surcharges_are_read_back(round_trip: Round) -> None:
    """Amounts keep their last digit, and dates their moment."""

    @EXAMPLES
    @given(SURCHARGE_BODY)
    def check(body: dict[str, Any]) -> None:
        if stored := round_trip.ask("POST", "/surcharges", body):
            listed = round_trip.ask("GET", "/surcharges?history=true&limit=500")["data"]
            assert stored in listed
            round_trip.check({name: value for name, value in body.items() if value is not None}, stored)

    check()
    assert round_trip.accepted > 5


def test_budgets_are_read_back(round_trip: Round) -> None:
    """Amounts keep their last digit."""

    @EXAMPLES
    @given(AMOUNTS, st.sampled_from(["day", "week", "month", "total"]))
    def check(amount: str, period: str) -> None:
        if stored := round_trip.ask("PUT", f"/users/bob/budgets/{period}", {"amount": amount}):
            round_trip.check({"amount": amount}, round_trip.ask("GET", f"/budgets/{stored['id']}"))

    check()
    assert round_trip.accepted > 5


def test_agents_read_what_was_accepted(round_trip: Round, io_loop: IOLoop) -> None:
    """After all kinds of values the directory is still fresh: `ledger verify` finds nothing, and a new token works."""

    @EXAMPLES
    @given(TOKEN_BODY, USER_BODY)
    def change(token: dict[str, Any], user: dict[str, Any]) -> None:
        for path, body in (("/tokens/2", token), ("/users/carl", user)):
            round_trip.ask("PATCH", path, body)

    change()
    assert round_trip.ask("GET", "/ledger/findings") == {"findings": []}
    agent = round_trip.admin.agent
    agent.token = round_trip.ask("POST", "/users", {"name": "zoe", "openai_key": KEY})["token"]

    async def works() -> bool:
        return (await agent.chat()).status == 200

    io_loop.run_sync(lambda: until(works, seconds=5))
