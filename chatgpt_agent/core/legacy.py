"""The original program's three tables, and what they become here. Its prices are USD per 1,000 tokens."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from uuid import UUID, uuid5

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import check_rates
from chatgpt_agent.core.names import MAX_NAME, is_name, is_secret

# Of the ids of its rows: whoever takes a row over again, from a copy of its database too, comes to the same id.
NAMESPACE = UUID("6d1f6f5e-7c0b-5b1c-9d53-0c6a1f3d8a42")

IMPORTED_USER = "(imported)"  # whose requests are those that the original program kept without a name
MIN_SHOWN = 16  # characters of a token of which some may be shown
SHOWN = 4
MAX_TOKEN = 100
MAX_KEY = 512
MAX_COUNT = 10**12
MAX_AMOUNT = 24  # characters of a price, which Python's own decimals do not round

_INPUT, _OUTPUT = "_input", "_output"


class OldUser(msgspec.Struct, frozen=True):
    """A row of `sys_user_token`."""

    id: int
    name: str | None
    local_token: str | None
    gpt_token: str | None
    comment: str | None
    create_time: datetime | None


class OldConfig(msgspec.Struct, frozen=True):
    """A row of `sys_config` in the group `model_price`."""

    key: str
    value: str | None
    timestamp: datetime | None


class OldRequest(msgspec.Struct, frozen=True):
    """A row of `sys_model_request`. `price` in USD. `owner`: the id in `sys_user_token`, which only later versions of
    the original program kept."""

    id: int
    remote_id: str | None
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    timestamp: datetime | None
    price: Decimal | None
    owner: int | None = None


class OldPrice(msgspec.Struct, frozen=True):
    """What the rows of a model from `since` on to the next such change were charged: `define_price`, `input,output`."""

    model: str
    define_price: str
    since: datetime


class NewPrice(msgspec.Struct, frozen=True):
    """A price to be added."""

    model: str
    effective_at: datetime
    rates: Rates


def row_id(request: OldRequest) -> UUID:
    """The id here of a row there: always the same for the same row."""
    moment = request.timestamp.astimezone(UTC).isoformat() if request.timestamp else ""
    return uuid5(NAMESPACE, f"{request.id}|{moment}|{request.remote_id}")


def request_fault(request: OldRequest) -> str | None:
    """Why a row of the history cannot be taken over, or None."""
    if request.timestamp is None:
        return "it has no timestamp"
    if not _is_name(request.model):
        return "it has no model, or one that is no name"
    for tokens in (request.prompt_tokens, request.completion_tokens):
        if tokens is not None and not 0 <= tokens <= MAX_COUNT:
            return f"it has a count of {tokens} tokens"
    if request.price is not None and not (request.price.is_finite() and request.price >= 0):
        return f"its price is {request.price}"
    return None


def user_fault(user: OldUser) -> str | None:
    """Why a user cannot be taken over, or None. The token and the key are not repeated."""
    token, key = user.local_token or "", (user.gpt_token or "").strip()
    if not is_secret(token, MAX_TOKEN):
        return "its local_token must be 1 to 100 printable ASCII characters without spaces: no client can send this one"
    if not is_secret(key, MAX_KEY):
        return "its gpt_token must be 1 to 512 printable ASCII characters without spaces: it is no key"
    return None


def is_weak(token: str) -> bool:
    """Whether a token is so short that somebody may guess it."""
    return len(token) < MIN_SHOWN


def token_prefix(token: str) -> str:
    """What may be shown of an old token: little, and nothing of a short one."""
    return "" if is_weak(token) else token[:SHOWN]


def user_name(user: OldUser) -> str:
    """The name here, which may have to differ: some there have none, or one that would spoil a list."""
    name = (user.name or "").strip()
    return name if _is_name(name) else f"legacy-{user.id}"


def numbered(name: str) -> Iterator[str]:
    """The name, and then with one number after the other behind it, for people whom the original program had under one
    name with different keys."""
    yield name
    yield from (f"{name[: MAX_NAME - 12]}-{number}" for number in count(2))


def _is_name(text: str | None) -> bool:
    return text is not None and is_name(text)


# Prices.


def prices(
    config: Sequence[OldConfig], history: Sequence[OldPrice], now: datetime
) -> tuple[list[NewPrice], dict[str, str]]:
    """The prices to add, by model and date; and the models (or keys) whose prices cannot be taken over, with reasons.

    Only models that have a price there now get one here. It counts from the first row that was charged it, and before
    that the prices count that older rows were charged. A price that no row was charged yet counts from the day that
    it was written down, or from now where rows were charged another one."""
    found: dict[str, dict[str, OldConfig]] = {}
    faults: dict[str, str] = {}
    for line in config:
        side = next((side for side in (_INPUT, _OUTPUT) if line.key.endswith(side)), None)
        model = line.key.removesuffix(side) if side else ""
        if side is None or not _is_name(model):
            faults[line.key] = f"the key is not a model's name with {_INPUT} or {_OUTPUT}"
        elif side in found.setdefault(model, {}) and found[model][side].value != line.value:
            faults[model] = f"{line.key} is there twice, with different values"
        else:
            found[model][side] = line
    added: list[NewPrice] = []
    for model, sides in sorted(found.items()):
        if model in faults:
            continue
        try:
            current = _rates({side: line.value for side, line in sides.items()})
        except InvalidValue as error:
            faults[model] = error.message
            continue
        written = [line.timestamp for line in sides.values() if line.timestamp is not None]
        runs = _runs(model, history)
        added += [NewPrice(model, since, rates) for since, rates in runs]
        if not runs or runs[-1][1] != current:
            since = now if runs else min(max(written, default=now), now)
            added.append(NewPrice(model, since, current))
    return added, faults


def _runs(model: str, history: Sequence[OldPrice]) -> list[tuple[datetime, Rates]]:
    """When the prices that rows of a model were charged changed, in order."""
    runs: list[tuple[datetime, Rates]] = []
    for old in sorted((old for old in history if old.model == model), key=lambda old: old.since):
        given, _, made = old.define_price.partition(",")
        try:
            rates = _rates({_INPUT: given, _OUTPUT: made})
        except InvalidValue:
            continue  # what a row was charged stands in the row
        if not runs or runs[-1][1] != rates:
            runs.append((old.since, rates))
    return runs


def _rates(sides: Mapping[str, str | None]) -> Rates:
    """Rates per 1,000,000 tokens out of texts per 1,000. Raises InvalidValue."""
    amounts = []
    for side in (_INPUT, _OUTPUT):
        text = (sides.get(side) or "").strip()
        if not text:
            raise InvalidValue(f"there is no {side}")
        if len(text) > MAX_AMOUNT:
            raise InvalidValue(f"{side} has more than {MAX_AMOUNT} characters")
        try:
            amounts.append(Decimal(text).scaleb(3))
        except ArithmeticError:
            raise InvalidValue(f"{side} is {text[:40]!r}, which is no number") from None
    rates = Rates(input=amounts[0], output=amounts[1])
    check_rates(rates)
    return rates
