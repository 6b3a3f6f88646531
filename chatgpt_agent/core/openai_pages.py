"""Reads pages of OpenAI's organization API: usage of every endpoint, and costs (`openai.types.admin.organization`).

An invalid file is rejected with one line that names it.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated

import msgspec

from chatgpt_agent.core.errors import InvalidJson, InvalidValue
from chatgpt_agent.core.json_keys import check_unique_keys
from chatgpt_agent.core.openai_usage import (
    MAX_COUNT,
    MAX_TIME,
    CostFigure,
    Counts,
    FigurePage,
    Kind,
    UsageFigure,
    is_sane,
    usd,
)

DAY_SECONDS = 86_400
BATCHES = "batches"
_AGENTS = "agents_api"  # a source of OpenAI's Agents API

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
Time = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME)]


class _Bucket(msgspec.Struct):
    start_time: Time
    end_time: Time
    results: list[msgspec.Raw]


class _Page(msgspec.Struct):
    data: list[_Bucket]
    has_more: bool = False
    next_page: str | None = None


class _Object(msgspec.Struct):
    object: str


class _Grouped(msgspec.Struct, kw_only=True):
    """What results of all kinds may be grouped by; None: not grouped by it."""

    model: str | None = None
    api_key_id: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    api_source: str | None = None
    batch: bool | None = None
    service_tier: str | None = None
    size: str | None = None
    source: str | None = None
    context_level: str | None = None
    vector_store_id: str | None = None
    line_item: str | None = None

    @property
    def other_source(self) -> str | None:
        """What the result belongs to, if not to requests that an agent may have sent."""
        if self.batch:
            return BATCHES
        return "Agents API" if self.api_source == _AGENTS else None

    def group(self) -> tuple[object, ...]:
        """All that the result is grouped by."""
        return tuple(getattr(self, name) for name in _Grouped.__struct_fields__)

    def counts(self) -> Counts:
        """What the ledger counts, too; nothing by default. Raises ValueError for counts that contradict each other."""
        return Counts()


class _Tokens(_Grouped, kw_only=True):
    """A result of completions or decisions."""

    num_model_requests: Count
    input_tokens: Count
    output_tokens: Count
    input_cached_tokens: Count | None = None
    input_cache_write_tokens: Count | None = None
    input_cache_write_12h_tokens: Count | None = None
    input_audio_tokens: Count | None = None
    input_cached_audio_tokens: Count | None = None
    input_image_tokens: Count | None = None
    input_cached_image_tokens: Count | None = None
    output_audio_tokens: Count | None = None
    output_image_tokens: Count | None = None

    def counts(self) -> Counts:
        """Requests and tokens. Raises ValueError for more cached tokens than input tokens."""
        if (self.input_cached_tokens or 0) > self.input_tokens:
            raise ValueError("more cached tokens than input tokens")
        return Counts(
            requests=self.num_model_requests,
            input=self.input_tokens,
            cached=self.input_cached_tokens,
            output=self.output_tokens,
            cache_write=self.input_cache_write_tokens,
            cache_write_12h=self.input_cache_write_12h_tokens,
            audio_input=_with_cached(self.input_audio_tokens, self.input_cached_audio_tokens),
            cached_audio=self.input_cached_audio_tokens,
            image_input=_with_cached(self.input_image_tokens, self.input_cached_image_tokens),
            cached_image=self.input_cached_image_tokens,
            audio_output=self.output_audio_tokens,
            image_output=self.output_image_tokens,
        )


class _Input(_Grouped, kw_only=True):
    """A result of embeddings or moderations."""

    num_model_requests: Count
    input_tokens: Count

    def counts(self) -> Counts:
        """Requests and input tokens."""
        return Counts(requests=self.num_model_requests, input=self.input_tokens)


class _Images(_Grouped, kw_only=True):
    """A result of images."""

    num_model_requests: Count
    images: Count

    def counts(self) -> Counts:
        """Requests; OpenAI counts no tokens here."""
        return Counts(requests=self.num_model_requests)


class _Seconds(_Grouped, kw_only=True):
    """A result of transcriptions."""

    num_model_requests: Count
    seconds: Count

    def counts(self) -> Counts:
        """Requests and seconds."""
        return Counts(requests=self.num_model_requests, seconds=self.seconds)


class _Calls(_Grouped, kw_only=True):
    """A result of web or file searches."""

    num_requests: Count

    def counts(self) -> Counts:
        """Calls of the tool."""
        return Counts(calls=self.num_requests)


class _Sessions(_Grouped, kw_only=True):
    """A result of the code interpreter."""

    num_sessions: Count

    def counts(self) -> Counts:
        """Sessions of the tool."""
        return Counts(calls=self.num_sessions)


class _Speeches(_Grouped, kw_only=True):
    """A result of speech."""

    num_model_requests: Count
    characters: Count

    def counts(self) -> Counts:
        """Requests; OpenAI counts no tokens here."""
        return Counts(requests=self.num_model_requests)


class _VectorStores(_Grouped, kw_only=True):
    """A result of vector stores."""

    usage_bytes: Count


class _Amount(msgspec.Struct):
    value: Decimal | None = None  # msgspec reads the text of the number, without a float in between
    currency: str | None = None


class _Cost(_Grouped, kw_only=True):
    """A result of costs. Without an amount nothing was charged."""

    amount: _Amount | None = None
    quantity: Decimal | None = None
    quantity_unit: str | None = None


class _Form(msgspec.Struct, frozen=True):
    """How results of a kind are read. `quantity`: the field of what the ledger does not count; `unit`: its unit."""

    kind: Kind
    decode: Callable[[msgspec.Raw], _Grouped]
    quantity: str | None = None
    unit: str | None = None


_FORMS = {
    "organization.usage.completions.result": _Form(Kind.COMPLETIONS, msgspec.json.Decoder(_Tokens).decode),
    "organization.usage.decisions.result": _Form(Kind.DECISIONS, msgspec.json.Decoder(_Tokens).decode),
    "organization.usage.embeddings.result": _Form(Kind.EMBEDDINGS, msgspec.json.Decoder(_Input).decode),
    "organization.usage.moderations.result": _Form(Kind.MODERATIONS, msgspec.json.Decoder(_Input).decode),
    "organization.usage.images.result": _Form(
        Kind.IMAGES, msgspec.json.Decoder(_Images).decode, quantity="images", unit="images"
    ),
    "organization.usage.audio_transcriptions.result": _Form(Kind.TRANSCRIPTIONS, msgspec.json.Decoder(_Seconds).decode),
    "organization.usage.web_searches.result": _Form(Kind.WEB_SEARCH, msgspec.json.Decoder(_Calls).decode),
    "organization.usage.file_searches.result": _Form(Kind.FILE_SEARCH, msgspec.json.Decoder(_Calls).decode),
    "organization.usage.code_interpreter_sessions.result": _Form(
        Kind.CODE_INTERPRETER, msgspec.json.Decoder(_Sessions).decode
    ),
    "organization.usage.audio_speeches.result": _Form(
        Kind.SPEECHES, msgspec.json.Decoder(_Speeches).decode, quantity="characters", unit="characters"
    ),
    "organization.usage.vector_stores.result": _Form(
        Kind.VECTOR_STORES, msgspec.json.Decoder(_VectorStores).decode, quantity="usage_bytes", unit="bytes"
    ),
    "organization.costs.result": _Form(Kind.COSTS, msgspec.json.Decoder(_Cost).decode),
}
_one_page = msgspec.json.Decoder(_Page)
_pages = msgspec.json.Decoder(list[_Page])
_object = msgspec.json.Decoder(_Object)


def read_pages(data: bytes, name: str, kind: Kind | None = None) -> list[FigurePage]:
    """Returns the pages in a JSON text: an object or an array of them, as `GET /v1/organization/usage/…` and
    `GET /v1/organization/costs` answer (https://platform.openai.com/docs/api-reference/usage). `kind`: of pages without
    results. Raises InvalidValue with the name."""
    try:
        decoded = _pages.decode(data) if data.lstrip().startswith(b"[") else [_one_page.decode(data)]
        check_unique_keys(data)
        pages: list[FigurePage] = []
        for page in decoded:
            # A page without results does not say what it counts; it may be the end of those before it.
            before = pages[-1].kind if pages and pages[-1].has_more and not any(b.results for b in page.data) else kind
            pages.append(_page(page, name, before))
    except msgspec.ValidationError as error:
        raise InvalidValue(f"{name}: is not a page of OpenAI's usage or costs: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValue(f"{name}: is not valid JSON: {error}") from None
    except InvalidJson as error:
        raise InvalidValue(f"{name}: is ambiguous: {error}") from None
    if not pages:
        raise InvalidValue(f"{name}: contains no figures")
    return pages


def _page(page: _Page, name: str, kind: Kind | None) -> FigurePage:
    days, groups = set(), []
    usage: list[UsageFigure] = []
    costs: list[CostFigure] = []
    for bucket in page.data:
        day = _day_of(bucket.start_time, bucket.end_time, name)
        days.add(day)
        for raw in bucket.results:
            form = _form_of(raw, name)
            if kind not in (None, form.kind):
                raise InvalidValue(f"{name}: a page mixes {kind} and {form.kind}")
            kind = form.kind
            result = form.decode(raw)
            groups.append((bucket.start_time, *result.group()))
            if isinstance(result, _Cost):
                costs.append(_cost_figure(day, result, name))
            else:
                usage.append(_usage_figure(day, result, form, name))
    return FigurePage(
        name=name,
        kind=kind,
        days=frozenset(days),
        groups=frozenset(groups),
        usage=usage,
        costs=costs,
        has_more=page.has_more,
        next_page=page.next_page,
    )


def _form_of(raw: msgspec.Raw, name: str) -> _Form:
    object_ = _object.decode(raw).object
    if object_ not in _FORMS:
        raise InvalidValue(f"{name}: contains {object_[:60]!r}, which is neither usage nor costs")
    return _FORMS[object_]


def _usage_figure(day: date, result: _Grouped, form: _Form, name: str) -> UsageFigure:
    try:
        counts = result.counts()
    except ValueError as error:
        raise InvalidValue(f"{name}: {day}: {error}") from None
    return UsageFigure(
        day,
        result.model,
        result.api_key_id,
        counts,
        kind=form.kind,
        project=result.project_id,
        quantity=getattr(result, form.quantity) if form.quantity else None,
        unit=form.unit,
        source=result.other_source,
    )


def _cost_figure(day: date, result: _Cost, name: str) -> CostFigure:
    amount = result.amount or _Amount()
    quantity = result.quantity
    if quantity is not None and not is_sane(quantity):
        raise InvalidValue(f"{name}: {str(quantity)[:40]} is not a quantity")
    return CostFigure(
        day,
        usd(amount.value or Decimal(0), amount.currency or "usd", name),
        line_item=result.line_item,
        key=result.api_key_id,
        project=result.project_id,
        quantity=quantity,
        unit=result.quantity_unit,
        source=result.other_source,
    )


def _with_cached(uncached: int | None, cached: int | None) -> int | None:
    """Returns all tokens of a medium. Where OpenAI does not tell cached ones apart, its figure contains them."""
    return None if uncached is None else uncached + (cached or 0)


def _day_of(start: int, end: int, name: str) -> date:
    if not start < end or start // DAY_SECONDS != (end - 1) // DAY_SECONDS:
        raise InvalidValue(f"{name}: a bucket from {start} to {end} is not within one day; ask for bucket_width=1d")
    return datetime.fromtimestamp(start, UTC).date()
