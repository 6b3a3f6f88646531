"""Answers and terms of tests/support/billed_answers.py as the agent has them: read, settled, with prices of its own."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.http.answer import PassingAnswer, read_answer
from chatgpt_agent.core.http.endpoints import METERED, Endpoint
from chatgpt_agent.core.http.meter import StreamMeter
from chatgpt_agent.core.ledger import Outcome, Row, answered_state, settle
from chatgpt_agent.core.money.exact import ZERO
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import NewPrice, Price, PriceBook, Tier
from chatgpt_agent.core.money.surcharges import NewSurcharge, Surcharge
from chatgpt_agent.core.usage import Answer
from tests.support.factories import NOON, make_intent
from tests.support.openai_bill import ListPrice, ListTier, Terms
from tests.support.openai_bill import Rates as ListRates

MODEL, IMAGE_MODEL, HOST = "m", "m-image", "eu.api.example.com"
BY_PATH = {endpoint.path: endpoint for endpoint in METERED}
SINCE = NOON - timedelta(days=1)


def usd(amount: Fraction) -> Decimal:
    """Returns an amount with at most ten decimal places."""
    return Decimal(int(amount * 10**10)).scaleb(-10)


def new_price(listed: ListPrice, model: str) -> NewPrice:
    """Returns a price of the list, to be set from SINCE on."""
    rates = Rates(**_amounts(listed.rates), minute=usd(listed.minute))
    return NewPrice(model, rates, tuple(map(_tier, listed.tiers)), SINCE)


def _amounts(rates: ListRates) -> dict[str, Decimal]:
    return {kind: usd(amount) for kind, amount in rates.items()}


def _tier(listed: ListTier) -> Tier:
    own = {"multiplier": usd(listed.multiplier)} if listed.rates is None else _amounts(listed.rates)
    return Tier(service_tier=listed.service_tier, above=listed.above, **own)


def new_surcharges(terms: Terms) -> list[NewSurcharge]:
    """Returns the fees and the multiplier of the host, to be set from SINCE on."""
    fees = [NewSurcharge(kind=kind, amount=usd(amount), effective_at=SINCE) for kind, amount in terms.fees.items()]
    factor = NewSurcharge(kind="multiplier", amount=usd(terms.multiplier), host=HOST, effective_at=SINCE)
    return [*fees, factor] if terms.multiplier != 1 else fees


def stored_price(new: NewPrice, id: int) -> Price:
    """Returns a price as it is stored."""
    return Price(id=id, model=new.model, effective_at=SINCE, rates=new.rates, tiers=new.tiers)


def stored_surcharge(new: NewSurcharge, id: int) -> Surcharge:
    """Returns a surcharge as it is stored."""
    return Surcharge(
        id=id, kind=new.kind, amount=new.amount, host=new.host, model=new.model, effective_at=SINCE, created_at=SINCE
    )


def book_of(terms: Terms) -> PriceBook:
    """Returns the prices and surcharges of these terms."""
    assert terms.image_price is not None
    listed = {MODEL: terms.price, IMAGE_MODEL: terms.image_price}
    prices = [stored_price(new_price(each, model), id) for id, (model, each) in enumerate(listed.items(), 1)]
    surcharges = [stored_surcharge(new, id) for id, new in enumerate(new_surcharges(terms), 1)]
    return PriceBook(prices, surcharges=surcharges, host=HOST)


def read_whole(path: str, body: bytes) -> Answer:
    """Reads a whole answer as the agent does."""
    return run_to_end(read_answer([body], BY_PATH[path]))


def read_passing(path: str, body: bytes) -> Answer:
    """Reads a whole answer as the agent does that has no room for it."""
    answer = PassingAnswer(BY_PATH[path], None)
    answer.feed(body)
    return answer.answer()


def read_stream(path: str, events: Sequence[bytes], cuts: Iterable[int] = ()) -> Answer:
    """Reads a stream as the agent does, in chunks that end at these bytes beside the ends of events."""
    endpoint: Endpoint = BY_PATH[path]
    meter = StreamMeter(endpoint, hide_usage=True)
    for event in events:
        ends = sorted({cut % len(event) for cut in cuts} | {0, len(event)})
        for start, end in pairwise(ends):
            meter.feed(event[start:end])
    meter.end(clean=True)
    meter.take_held()
    return meter.answer()


def settled(path: str, answer: Answer, book: PriceBook, number: int = 1, *, max_cost: Decimal = ZERO) -> Row:
    """Returns the row of a request with this answer, at the prices of a book."""
    price = book.at(MODEL, NOON)
    assert price is not None
    intent = make_intent(
        number, endpoint=path, model=MODEL, price_id=price.id, image_model=IMAGE_MODEL, max_cost=max_cost
    )
    outcome = Outcome(state=answered_state(200, answer), status=200, answer=answer)
    return settle(intent, outcome, price, book)
