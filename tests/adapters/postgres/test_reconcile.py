"""Sums of the ledger for its comparison with OpenAI's bill: what is charged beside the tokens of a model."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres import reconcile
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.prices import add_prices
from chatgpt_agent.adapters.postgres.surcharges import add_surcharges
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.admin.corrections import Corrections
from chatgpt_agent.core.ledger import Outcome, Row, State, settle
from chatgpt_agent.core.money.kinds import Rates, RightCounts
from chatgpt_agent.core.money.pricing import NewPrice, Price, PriceBook
from chatgpt_agent.core.money.surcharges import NewSurcharge
from chatgpt_agent.core.openai_usage import Counts, Kind
from chatgpt_agent.core.reconcile.lines import LedgerSum
from chatgpt_agent.core.usage import Answer, Usage
from tests.support.factories import NOON, make_intent, request_id

DAY = NOON.date()
SOL, DRAWING, SPOKEN = "gpt-6-sol", "gpt-image-2.6", "gpt-transcribe"
PRICES = {
    SOL: Rates(input=Decimal(2), cached_input=Decimal("0.2"), output=Decimal(16)),
    DRAWING: Rates(input=Decimal(5), cached_image=Decimal(2), image_input=Decimal(8), output=Decimal(30)),
    SPOKEN: Rates(input=Decimal(0), output=Decimal(0), minute=Decimal("0.0045")),
}
SURCHARGES = [
    NewSurcharge(kind="web_search", amount=Decimal("0.01")),
    NewSurcharge(kind="file_search", amount=Decimal("0.0025")),
    NewSurcharge(kind="code_interpreter", amount=Decimal("0.03")),
]
REGION = NewSurcharge(kind="multiplier", amount=Decimal("1.1"), host="eu.api.openai.com")


class Priced:
    """A database with prices and surcharges, and rows that are charged with them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.prices: dict[str, Price] = {}
        self.book = PriceBook()

    async def fill(self, *surcharges: NewSurcharge) -> None:
        """Adds prices and surcharges."""
        effective_at = NOON - timedelta(days=1)
        await ensure_partition(self.store, NOON)
        new = [NewPrice(model, rates, effective_at=effective_at) for model, rates in PRICES.items()]
        self.prices = {price.model: price for price in await add_prices(self.store, new, now=effective_at)}
        stored = await add_surcharges(self.store, surcharges, now=effective_at)
        self.book = PriceBook(self.prices.values(), surcharges=stored, host=REGION.host)

    def row(self, number: int, usage: Usage, *, model: str = SOL, path: str = "/v1/responses") -> Row:
        """Returns the row of an answer with this usage, whose image tool draws with a model of its own."""
        price = self.prices[model]
        intent = make_intent(number, user_id=1, model=model, price_id=price.id, endpoint=path, image_model=DRAWING)
        outcome = Outcome(state=State.DONE, status=200, answer=Answer(usage=usage, model=model))
        return settle(intent, outcome, price, self.book)

    async def sums(self, *rows: Row) -> list[LedgerSum]:
        """Ships rows and returns the sums of their day."""
        await ship(self.store, rows)
        return await reconcile.ledger_sums(self.store, DAY, DAY)


@pytest.fixture
def priced(io_loop: IOLoop, dsn: str) -> Iterator[Priced]:
    """A database with prices, and surcharges for tools."""
    store = Store(dsn)
    priced = Priced(store)
    io_loop.run_sync(lambda: priced.fill(*SURCHARGES))
    yield priced
    io_loop.run_sync(store.close)


async def test_calls_of_tools_are_sums_of_their_own(priced: Priced) -> None:
    """The sum of the model has the cost of its tokens alone."""
    usage = Usage(input=1000, output=100, web_search_calls=3, file_search_calls=2, code_interpreter_sessions=1)
    model, *tools = await priced.sums(priced.row(1, usage), priced.row(2, Usage(input=0, output=0, web_search_calls=4)))
    assert (model.counts, model.cost) == (Counts(requests=2, input=1000, output=100), Decimal("0.0036"))
    assert [(line.tool, line.counts, line.cost) for line in tools] == [
        (Kind.WEB_SEARCH, Counts(calls=7), Decimal("0.07")),
        (Kind.FILE_SEARCH, Counts(calls=2), Decimal("0.005")),
        (Kind.CODE_INTERPRETER, Counts(calls=1), Decimal("0.03")),
    ]


async def test_tokens_of_the_image_tool_belong_to_the_model_that_drew(priced: Priced) -> None:
    """Its cost is not that of the model that called the tool."""
    drawn = Usage(input=500, cached=100, cached_image=100, image_input=300, output=900, image_output=900)
    model, drawing = await priced.sums(priced.row(1, Usage(input=1000, output=100, image_tool=drawn)))
    assert (model.model, model.counts, model.cost) == (
        SOL,
        Counts(requests=1, input=1000, output=100),
        Decimal("0.0036"),
    )
    assert (drawing.model, drawing.kind, drawing.served) == (DRAWING, Kind.IMAGES, False)
    assert drawing.cost == priced.prices[DRAWING].cost(drawn)
    assert drawing.counts == Counts(
        requests=None, input=500, cached=100, cached_image=100, image_input=300, output=900, image_output=900
    )


async def test_factor_of_a_host_is_in_the_cost_of_tokens(priced: Priced) -> None:
    """The calls cost the same everywhere."""
    await priced.fill(*SURCHARGES, REGION)
    drawn = Usage(input=100, output=100, image_output=100)
    rows = [priced.row(1, Usage(input=1000, output=100, web_search_calls=3, image_tool=drawn))]
    model, search, drawing = await priced.sums(*rows)
    assert (model.cost, search.cost) == (Decimal("0.00396"), Decimal("0.03"))
    assert model.cost + search.cost + drawing.cost == rows[0].cost


async def test_seconds_are_summed(priced: Priced) -> None:
    """They are exact."""
    usage = Usage(input=0, output=0, seconds=Decimal("61.25"))
    rows = [priced.row(number, usage, model=SPOKEN, path="/v1/audio/transcriptions") for number in (1, 2)]
    [line] = await priced.sums(*rows)
    assert (line.kind, line.counts) == (Kind.TRANSCRIPTIONS, Counts(requests=2, seconds=Decimal("122.5")))


async def test_every_kind_of_token_is_summed(priced: Priced) -> None:
    """The names are those of OpenAI's figures."""
    usage = Usage(
        input=1000,
        cached=200,
        output=300,
        cache_write=100,
        cache_write_12h=60,
        audio_input=50,
        cached_audio=20,
        image_input=40,
        cached_image=10,
        audio_output=70,
        image_output=30,
    )
    [line] = await priced.sums(priced.row(1, usage))
    assert line.counts == Counts(1, 1000, 200, 300, 100, 60, 50, 20, 40, 10, 70, 30)


async def test_free_endpoints_are_left_out_but_for_moderations(priced: Priced) -> None:
    """OpenAI counts no requests that only read what is stored."""
    rows = []
    for number, path in enumerate(("/v1/moderations", "/v1/responses/input_tokens")):
        intent = make_intent(number, user_id=1, price_id=None, endpoint=path)
        outcome = Outcome(state=State.DONE, status=200, answer=Answer(model=SOL))
        rows.append(settle(intent, outcome, None, priced.book))
    assert [(line.kind, line.counts.requests) for line in await priced.sums(*rows)] == [(Kind.MODERATIONS, 1)]


async def test_free_requests_are_no_candidates(priced: Priced) -> None:
    """A count of input tokens without an answer explains no difference."""
    intent = make_intent(1, user_id=1, price_id=None, endpoint="/v1/responses/input_tokens")
    await ship(priced.store, [settle(intent, Outcome(state=State.INCOMPLETE), None, priced.book)])
    assert await reconcile.candidate_rows(priced.store, DAY, DAY) == []


async def test_correction_of_a_row_with_calls_keeps_them(priced: Priced) -> None:
    """A correction changes tokens, and the sums of tools stay."""
    await ship(priced.store, [priced.row(1, Usage(input=1000, output=100, web_search_calls=3))])
    await Corrections(priced.store).correct(request_id(1), RightCounts(input=2000, output=100), "reason")
    model, search = await reconcile.ledger_sums(priced.store, DAY, DAY)
    assert (model.counts, model.cost) == (Counts(requests=1, input=2000, output=100), Decimal("0.0056"))
    assert (search.counts, search.cost) == (Counts(calls=3), Decimal("0.03"))


async def test_row_with_a_doubtful_cost_is_a_candidate(priced: Priced) -> None:
    """Its reason says why OpenAI may charge another amount."""
    doubtful = msgspec.structs.replace(priced.row(1, Usage(input=1000, output=100)), uncertain_reason="no_price")
    await ship(priced.store, [doubtful, priced.row(2, Usage(input=1, output=1))])
    [rows] = await reconcile.candidate_rows(priced.store, DAY, DAY)
    assert (rows.has_tokens, rows.ids) == (True, [str(request_id(1))])
