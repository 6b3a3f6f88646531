"""The rules by which the three tables of the original program are imported. Its prices are USD per 1,000 tokens."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from uuid import UUID, uuid5

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.moments import YEARS, is_allowed
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import NewPrice, check_rates
from chatgpt_agent.core.names import MAX_NAME, is_name, is_secret

# Of the ids of imported rows, so that a repeated import, even from a copy of the database, gives the same ids.
NAMESPACE = UUID("6d1f6f5e-7c0b-5b1c-9d53-0c6a1f3d8a42")

IMPORTED_USER = "(imported)"  # the user of requests that the original program stored without one
MIN_LENGTH = 16  # characters of a token that cannot be guessed
PREFIX_LENGTH = 4  # characters of a token that are stored
MAX_TOKEN = 100
MAX_KEY = 512
MAX_COUNT = 10**12
MAX_COST = Decimal(1_000_000_000)  # USD of a row
MAX_PLACES = 20  # of its cost
MAX_AMOUNT = 24  # characters of a price, few enough for decimals not to round

_INPUT, _OUTPUT = "_input", "_output"


class OldUser(msgspec.Struct, frozen=True, kw_only=True):
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


class OldRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `sys_model_request`. `price` in USD. `owner`: the id in `sys_user_token`, which only later versions of
    the original program stored."""

    id: int
    remote_id: str | None
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    timestamp: datetime | None
    price: Decimal | None
    owner: int | None = None


class OldPrice(msgspec.Struct, frozen=True):
    """The price of a model's rows from `since` until the next change. `define_price` is `input,output`."""

    model: str
    define_price: str
    since: datetime


def row_id(request: OldRequest) -> UUID:
    """Returns the id of an imported row, always the same for the same row."""
    moment = request.timestamp.astimezone(UTC).isoformat() if request.timestamp else ""
    return uuid5(NAMESPACE, f"{request.id}|{moment}|{request.remote_id}")


def request_error(request: OldRequest) -> str | None:
    """Returns why a row of the history cannot be imported, or None."""
    if request.timestamp is None:
        return "it has no timestamp"
    if usable_moment(request.timestamp) is None:
        return f"its timestamp is not in {YEARS}"
    if not _is_name(request.model):
        return "its model is missing or not a name"
    for tokens in (request.prompt_tokens, request.completion_tokens):
        if tokens is not None and not 0 <= tokens <= MAX_COUNT:
            return f"it has a count of {tokens} tokens"
    if request.price is not None and not _is_cost(request.price):
        return f"its price is {str(request.price)[:40]}"
    return None


def usable_moment(moment: datetime | None) -> datetime | None:
    """Returns a time, or None if it is not in the years that can be stored."""
    if moment is None or not is_allowed(moment if moment.tzinfo else moment.replace(tzinfo=UTC)):
        return None
    return moment


def _is_cost(price: Decimal) -> bool:
    return price.is_finite() and 0 <= price <= MAX_COST and price == round(price, MAX_PLACES)


def user_error(user: OldUser) -> str | None:
    """Returns why a user cannot be imported, or None. The token and the key are not quoted."""
    token, key = user.local_token or "", (user.gpt_token or "").strip()
    if not is_secret(token, MAX_TOKEN):
        return "its local_token must be 1 to 100 printable ASCII characters without spaces"
    if not is_secret(key, MAX_KEY):
        return "its gpt_token must be 1 to 512 printable ASCII characters without spaces"
    return None


def is_weak(token: str) -> bool:
    """Whether a token is short enough to be guessed."""
    return len(token) < MIN_LENGTH


def token_prefix(token: str) -> str:
    """Returns the beginning of an old token that may be stored: four characters, or nothing of a weak token."""
    return "" if is_weak(token) else token[:PREFIX_LENGTH]


def user_name(user: OldUser) -> str:
    """Returns the name of an imported user: the old one, or one with the old id where it is missing or not a name."""
    name = (user.name or "").strip()
    return name if _is_name(name) else f"legacy-{user.id}"


def numbered(name: str) -> Iterator[str]:
    """Yields the name, and then the name with a number, for users of the same name with different keys."""
    yield name
    yield from (f"{name[: MAX_NAME - 12]}-{number}" for number in count(2))


def _is_name(text: str | None) -> bool:
    return text is not None and is_name(text)


# Prices.


def prices(
    config: Sequence[OldConfig], history: Sequence[OldPrice], now: datetime
) -> tuple[list[NewPrice], dict[str, str]]:
    """Returns the prices to add, by model and date, and the errors of models (or keys) whose prices cannot be imported.

    Only models with a current price are imported. It takes effect with the first row that was charged it, after the
    prices of older rows. A price that no row was charged takes effect when it was configured, or now if rows were
    charged another one."""
    configured: dict[str, dict[str, OldConfig]] = {}
    errors: dict[str, str] = {}
    for line in config:
        side = next((side for side in (_INPUT, _OUTPUT) if line.key.endswith(side)), None)
        model = line.key.removesuffix(side) if side else ""
        if side is None or not _is_name(model):
            errors[line.key] = f"the key is not a model's name with {_INPUT} or {_OUTPUT}"
        elif side in configured.setdefault(model, {}) and configured[model][side].value != line.value:
            errors[model] = f"duplicate key {line.key} with different values"
        else:
            configured[model][side] = line
    added: list[NewPrice] = []
    for model, sides in sorted(configured.items()):
        if model in errors:
            continue
        try:
            current = _rates({side: line.value for side, line in sides.items()})
        except InvalidValue as error:
            errors[model] = error.message
            continue
        written = [line.timestamp for line in sides.values() if line.timestamp is not None]
        runs = _runs(model, history)
        added += [NewPrice(model, rates, effective_at=since) for since, rates in runs]
        if not runs or runs[-1][1] != current:
            since = now if runs else min(max(written, default=now), now)
            added.append(NewPrice(model, current, effective_at=since))
    return added, errors


def _runs(model: str, history: Sequence[OldPrice]) -> list[tuple[datetime, Rates]]:
    """Returns the changes of the price that rows of a model were charged, in order."""
    runs: list[tuple[datetime, Rates]] = []
    for old in sorted((old for old in history if old.model == model), key=lambda old: old.since):
        input_rate, _, output_rate = old.define_price.partition(",")
        try:
            rates = _rates({_INPUT: input_rate, _OUTPUT: output_rate})
        except InvalidValue:
            continue  # each row has its own cost
        if not runs or runs[-1][1] != rates:
            runs.append((old.since, rates))
    return runs


def _rates(sides: Mapping[str, str | None]) -> Rates:
    """Returns rates per 1,000,000 tokens, from texts with prices per 1,000. Raises InvalidValue."""
    amounts = []
    for side in (_INPUT, _OUTPUT):
        text = (sides.get(side) or "").strip()
        if not text:
            raise InvalidValue(f"missing {side}")
        if len(text) > MAX_AMOUNT:
            raise InvalidValue(f"{side} has more than {MAX_AMOUNT} characters")
        try:
            amounts.append(Decimal(text).scaleb(3))
        except ArithmeticError:
            raise InvalidValue(f"{side}: {text[:40]!r} is not a number") from None
    rates = Rates(input=amounts[0], output=amounts[1])
    check_rates(rates)
    return rates
