"""Tests of reading OpenAI's figures: pages of its organization API, and exports of its dashboard."""

import json
from datetime import date
from decimal import Decimal

import msgspec
import pytest

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.openai_export import read_table
from chatgpt_agent.core.openai_pages import read_pages
from chatgpt_agent.core.openai_usage import FigurePage, Kind, UsageFigure, main_counts, merge
from chatgpt_agent.core.plain_json import encode
from tests.support.openai_organization import (
    GOLDEN,
    SNAPSHOT,
    START,
    bucket,
    cost_result,
    costs_page,
    page_of,
    usage_result,
    usage_type,
)

DAY = date(2026, 11, 1)


def usage(data: bytes) -> UsageFigure:
    """Returns the only figure of a page."""
    [page] = read_pages(data, "usage.json")
    [figure] = page.usage
    return figure


def table(*lines: str) -> FigurePage:
    """Returns an export with these lines."""
    return read_table([line.split(",") for line in lines], "export.csv")


# JSON.


def test_usage_of_a_page_is_read() -> None:
    """A figure has its day, model, key and counts."""
    result = usage(page_of(bucket([usage_result(api_key_id="key_a")])))
    assert result == UsageFigure(DAY, SNAPSHOT, "key_a", main_counts(5, 1000, 800, 500))


def test_an_array_of_pages_is_read() -> None:
    """Pages that a shell put together in an array are all read."""
    data = b"[" + page_of(bucket([usage_result()]), has_more=True) + b"," + page_of(bucket([], day=1)) + b"]"
    first, second = read_pages(data, "usage.json")
    assert (len(first.usage), first.has_more, sorted(second.days)) == (1, True, [date(2026, 11, 2)])


def test_last_page_without_results_ends_its_kind() -> None:
    """It has the days after the last request."""
    data = b"[" + page_of(bucket([usage_result()]), has_more=True) + b"," + page_of(bucket([], day=1)) + b"]"
    assert merge(read_pages(data, "usage.json")).usage_days == {Kind.COMPLETIONS: (DAY, date(2026, 11, 2))}


def test_hourly_buckets_count_for_their_day() -> None:
    """Days are those of UTC."""
    assert usage(page_of(bucket([usage_result()], seconds=3600))).day == DAY


def test_unknown_cached_tokens_are_not_zero() -> None:
    """A missing count of cached tokens is None, not 0."""
    result = usage_result()
    del result["input_cached_tokens"]
    assert usage(page_of(bucket([result]))).counts.cached is None


@pytest.mark.parametrize(
    "value", ["0.06", '"1.50"', "0.060000000000000000000000000000000000012", "123456789012345.678", "1e-7", "-2", "0"]
)
def test_amount_keeps_the_digits_of_its_text(value: str) -> None:
    """A float would keep only 17 of them."""
    [page] = read_pages(costs_page(value), "costs.json")
    assert [figure.amount for figure in page.costs] == [Decimal(value.strip('"'))]


@pytest.mark.parametrize("value", ['"NaN"', '"Infinity"', "1e999999", "1e-999999", "9" * 100])
def test_absurd_amount_is_rejected(value: str) -> None:
    """Sums of amounts could otherwise not be exact."""
    with pytest.raises(InvalidValue, match=r"^costs\.json: .* is not an amount$"):
        read_pages(costs_page(value), "costs.json")


def test_amount_in_another_currency_is_rejected() -> None:
    """The ledger is in USD."""
    with pytest.raises(InvalidValue, match=r"^costs\.json: amounts are in 'eur'; the ledger is in USD$"):
        read_pages(costs_page("1", "eur"), "costs.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "is not valid JSON"),
        (b'{"x":' + b"[" * 100_000, "is not valid JSON"),
        (b'{"data":[{"results":[]}]}', r"is not a page .*`start_time` - at `\$\.data\[0\]`"),
        (b'{"object":"list"}', r"is not a page .*`data`"),
        (b"[1]", "is not a page"),
        (page_of(bucket([usage_result(input_tokens="12")])), "is not a page"),
        (page_of(bucket([usage_result(input_tokens=1.5)])), "is not a page"),
        (page_of(bucket([usage_result(input_tokens=-1)])), "is not a page"),
        (page_of(bucket([usage_result(input_tokens=10**30)])), "is not a page"),
        (page_of(bucket([usage_result(input_cached_tokens=1001)])), "more cached tokens than input tokens"),
        (page_of(bucket([usage_result(object="organization.usage.dreams.result")])), "neither usage nor costs"),
        (page_of(bucket([usage_result(), cost_result()])), "a page mixes completions and costs"),
        (page_of(bucket([{"input_tokens": 1}])), "is not a page .*`object`"),
        (page_of(bucket([], seconds=86_401)), "is not within one day; ask for bucket_width=1d"),
        (page_of(bucket([], seconds=0)), "is not within one day"),
        (page_of(bucket([usage_result(model="\ud800")])), ""),
    ],
)
def test_invalid_json_is_rejected_in_one_line(data: bytes, message: str) -> None:
    """The error names the file and the place in it."""
    with pytest.raises(InvalidValue, match=f"^usage.json: .*{message}") as caught:
        read_pages(data, "usage.json")
    assert len(caught.value.message.splitlines()) == 1


# Every shape that the SDK's types allow.


def readable(figure: msgspec.Struct) -> dict[str, object]:
    """Returns the fields of a figure that differ from their defaults."""
    values = msgspec.structs.asdict(figure)
    defaults = {field.name: field.default for field in msgspec.structs.fields(figure) if not field.required}
    counts = {"counts": readable(values["counts"])} if "counts" in values else {}
    return {name: value for name, value in values.items() if value != defaults.get(name, ...)} | counts


@pytest.mark.parametrize("kind", Kind)
def test_golden_page_is_read(kind: Kind) -> None:
    """Figures with and without groups, of all units, are read to the last digit."""
    first, last = read_pages((GOLDEN / f"{kind}.json").read_bytes(), "golden")
    figures = [readable(figure) for figure in (*first.usage, *first.costs)]
    assert encode(figures) == encode(json.loads((GOLDEN / f"{kind}.figures.json").read_bytes()))
    assert (first.kind, first.next_page, last.has_more) == (kind, "page_AAAAAGdGxdEiJdKOAAAAAGcqsYA=", False)
    assert sorted(day.day for page in (first, last) for day in page.days) == [1, 2, 3]


@pytest.mark.parametrize("kind", Kind)
def test_golden_page_has_the_fields_of_the_sdk(kind: Kind) -> None:
    """The golden files have no field of their own, and no value that the SDK does not allow."""
    response = usage_type(kind, "Response")
    for page in json.loads((GOLDEN / f"{kind}.json").read_bytes()):
        parsed = response.model_validate(page, strict=False)
        assert not any(result.model_extra for day in parsed.data for result in day.results)


# Exports.


def test_an_export_of_activity_is_read() -> None:
    """Columns are found by name, and other columns are ignored."""
    page = table(
        "start_time,end_time,project_id,num_model_requests,api_key_id,model,input_tokens,output_tokens,input_cached_tokens",
        f"{START},{START + 86_400},proj_x,5,key_a,{SNAPSHOT},1000,500,800",
    )
    assert page.usage == [UsageFigure(DAY, SNAPSHOT, "key_a", main_counts(5, 1000, 800, 500), project="proj_x")]


def test_export_with_older_columns_is_read() -> None:
    """The columns of the previous export are found in any order and case."""
    page = table(
        "Model,N_Requests,n context tokens total,n_generated_tokens_total,Date", f"{SNAPSHOT},5,9,1,2026-11-01"
    )
    assert page.usage == [UsageFigure(DAY, SNAPSHOT, None, main_counts(5, 9, None, 1))]


def test_an_export_of_costs_is_read() -> None:
    """An export with amounts and without tokens is one of costs."""
    page = table("start_time,amount_value,amount_currency", f"{START},0.0600000000000000000001,usd")
    assert (page.kind, page.costs[0].amount) == (Kind.COSTS, Decimal("0.0600000000000000000001"))


def test_day_without_figures_is_covered() -> None:
    """The export has an empty line for such a day."""
    page = table("start_time,amount_value", f"{START},1", f"{START + 86_400},", "")
    assert (len(page.costs), sorted(page.days)) == (1, [DAY, date(2026, 11, 2)])


@pytest.mark.parametrize(
    "text",
    [str(START), "2026-11-01", "2026-11-01T00:00:00+00:00", "2026-11-01 23:59:59", "2026-11-02T01:00:00+02:00"],
)
def test_days_of_an_export_are_utc(text: str) -> None:
    """Dates, times with an offset and Unix seconds give the same day."""
    assert table("date,amount", f"{text},1").days == {DAY}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["hello"], "is neither JSON nor an export of OpenAI's dashboard: the column start_time and the column model"),
        (["date,model,num_model_requests,input_tokens"], "is incomplete: the column output_tokens is missing"),
        (["date,num_model_requests,output_tokens"], "the column model and the column input_tokens is missing"),
        (["date,amount", "soon,1"], "line 2: 'soon' is neither a date nor Unix seconds"),
        (["date,amount", "0001-01-01T00:00:00+01:00,1"], "line 2: 0001-01-01T00:00:00+01:00 is not in the years"),
        (["date,amount", "9999-12-31T23:59:59-05:00,1"], "line 2: 9999-12-31T23:59:59-05:00 is not in the years"),
        (["date,amount", f"{'9' * 30},1"], "line 2: '999999999999999999999999999999' is neither"),
        (["date,amount", "2026-11-01,much"], "line 2: amount_value: 'much' is not an amount"),
        (["date,model,requests,input_tokens,output_tokens", "2026-11-01,m,1,x,1"], "line 2: input_tokens: 'x' is not"),
        (["date,model,requests,input_tokens,output_tokens", "2026-11-01,m,1,-1,1"], "'-1' is not a count"),
        (["date,model,requests,input_tokens,output_tokens", "2026-11-01,m,1,²,1"], "'²' is not a count"),
        (["date,model,requests,input_tokens,output_tokens", "2026-11-01,m,1"], "line 2: input_tokens: '' is not a"),
    ],
)
def test_invalid_export_is_rejected_in_one_line(lines: list[str], message: str) -> None:
    """The error names the file, and the column or the line."""
    with pytest.raises(InvalidValue) as caught:
        table(*lines)
    assert caught.value.message.startswith("export.csv: ")
    assert message in caught.value.message


# All together.


def test_missing_last_page_is_rejected() -> None:
    """Its figures would otherwise look like a difference."""
    with pytest.raises(InvalidValue, match=r"^a\.json: has_more is true, but the next page is missing$"):
        merge(read_pages(page_of(bucket([usage_result()]), has_more=True), "a.json"))


def test_duplicate_figures_are_rejected() -> None:
    """The error names both files."""
    data = page_of(bucket([usage_result()]))
    with pytest.raises(InvalidValue, match=r"^b\.json: contains figures that a\.json contains as well$"):
        merge(read_pages(data, "a.json") + read_pages(data, "b.json"))


def test_export_and_api_are_not_mixed() -> None:
    """Both contain the same figures."""
    export = table("date,amount", "2026-11-01,1")
    with pytest.raises(InvalidValue, match=r"^export\.csv: give costs from the API or from an export, not from both$"):
        merge([*read_pages(costs_page("1"), "costs.json"), export])


@pytest.mark.parametrize("data", [page_of(), page_of(bucket([]))])
def test_file_without_figures_is_rejected(data: bytes) -> None:
    """An empty page does not state what it counts."""
    with pytest.raises(InvalidValue, match=r"^a\.json: contains no figures$"):
        merge(read_pages(data, "a.json"))


def test_empty_page_of_a_known_kind_is_accepted() -> None:
    """An empty answer to a request for usage means that nothing was used."""
    assert merge(read_pages(page_of(bucket([])), "a.json", Kind.COMPLETIONS)).usage_days == {
        Kind.COMPLETIONS: (DAY, DAY)
    }
