"""Tests of OpenAI's figures, and of their comparison with the ledger."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.openai_export import read_table
from chatgpt_agent.core.openai_usage import Counts, FigurePage, Figures, Kind, UsageFigure, merge, read_pages
from chatgpt_agent.core.reconcile import Candidates, ComparedLine, LedgerSum, Reconciliation, compare, days_to_compare

DAY = date(2026, 11, 1)
MIDNIGHT = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
MINI, SNAPSHOT = "gpt-6-luna", "gpt-6-luna-2026-09-15"


def usage_result(**other: Any) -> dict[str, Any]:
    """Returns a result as in OpenAI's reference."""
    fields = {
        "object": "organization.usage.completions.result",
        "input_tokens": 1000,
        "output_tokens": 500,
        "input_cached_tokens": 800,
        "num_model_requests": 5,
        "project_id": None,
        "user_id": None,
        "api_key_id": None,
        "model": SNAPSHOT,
        "batch": None,
    }
    return fields | other


def bucket(results: Sequence[Any], *, day: int = 0, seconds: int = 86_400) -> dict[str, Any]:
    """Returns the bucket of a day; 0 is the first of November."""
    start = MIDNIGHT + day * 86_400
    return {"object": "bucket", "start_time": start, "end_time": start + seconds, "results": results}


def page_of(*buckets: Any, has_more: bool = False) -> bytes:
    """Returns a page as JSON."""
    return json.dumps({"object": "page", "data": buckets, "has_more": has_more, "next_page": None}).encode()


def costs_page(value: str, currency: str = "usd", day: int = 0) -> bytes:
    """Returns a page with one amount, with the number exactly as written here."""
    start = MIDNIGHT + day * 86_400
    result = f'{{"object":"organization.costs.result","amount":{{"value":{value},"currency":"{currency}"}}}}'
    return (
        f'{{"object":"page","data":[{{"start_time":{start},"end_time":{start + 86_400},"results":[{result}]}}]}}'
    ).encode()


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
    assert result == UsageFigure(DAY, SNAPSHOT, "key_a", Counts(5, 1000, 800, 500))


def test_an_array_of_pages_is_read() -> None:
    """Pages that a shell put together in an array are all read."""
    data = b"[" + page_of(bucket([usage_result()]), has_more=True) + b"," + page_of(bucket([], day=1)) + b"]"
    first, second = read_pages(data, "usage.json")
    assert (len(first.usage), first.has_more, sorted(second.days)) == (1, True, [date(2026, 11, 2)])


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
        (page_of(bucket([usage_result(object="organization.usage.images.result")])), "only usage of completions"),
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


# Exports.


def test_an_export_of_activity_is_read() -> None:
    """Columns are found by name, and other columns are ignored."""
    page = table(
        "start_time,end_time,project_id,num_model_requests,api_key_id,model,input_tokens,output_tokens,input_cached_tokens",
        f"{MIDNIGHT},{MIDNIGHT + 86_400},proj_x,5,key_a,{SNAPSHOT},1000,500,800",
    )
    assert page.usage == [UsageFigure(DAY, SNAPSHOT, "key_a", Counts(5, 1000, 800, 500))]


def test_export_with_older_columns_is_read() -> None:
    """The columns of the previous export are found in any order and case."""
    page = table(
        "Model,N_Requests,n context tokens total,n_generated_tokens_total,Date", f"{SNAPSHOT},5,9,1,2026-11-01"
    )
    assert page.usage == [UsageFigure(DAY, SNAPSHOT, None, Counts(5, 9, None, 1))]


def test_an_export_of_costs_is_read() -> None:
    """An export with amounts and without tokens is one of costs."""
    page = table("start_time,amount_value,amount_currency", f"{MIDNIGHT},0.0600000000000000000001,usd")
    assert (page.kind, page.costs[0].amount) == (Kind.COSTS, Decimal("0.0600000000000000000001"))


def test_day_without_figures_is_covered() -> None:
    """The export has an empty line for such a day."""
    page = table("start_time,amount_value", f"{MIDNIGHT},1", f"{MIDNIGHT + 86_400},", "")
    assert (len(page.costs), sorted(page.days)) == (1, [DAY, date(2026, 11, 2)])


@pytest.mark.parametrize(
    "text",
    [str(MIDNIGHT), "2026-11-01", "2026-11-01T00:00:00+00:00", "2026-11-01 23:59:59", "2026-11-02T01:00:00+02:00"],
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
    assert merge(read_pages(page_of(bucket([])), "a.json", Kind.USAGE)).usage_days == (DAY, DAY)


# The comparison.


def ours(
    counts: Counts = Counts(1, 10, 0, 2),
    *,
    model: str = SNAPSHOT,
    user: str = "alice",
    served: bool = True,
    cost: str = "0",
) -> LedgerSum:
    """Returns a sum of the ledger."""
    return LedgerSum(day=DAY, model=model, user=user, served=served, counts=counts, cost=Decimal(cost))


def theirs(
    counts: Counts = Counts(1, 10, 0, 2), *, model: str | None = SNAPSHOT, key: str | None = None
) -> UsageFigure:
    """Returns a figure of OpenAI."""
    return UsageFigure(DAY, model, key, counts)


def compared(
    sums: Sequence[LedgerSum],
    figures: Sequence[UsageFigure],
    candidates: Sequence[Candidates] = (),
    keys: Mapping[str, str] | None = None,
) -> Reconciliation:
    """Compares the usage of one day."""
    return compare(Figures(list(figures), [], (DAY, DAY), None), sums, candidates, keys=keys or {})


def compared_costs(cost: str, value: str) -> Reconciliation:
    """Compares the costs of one day."""
    pages = read_pages(costs_page(value), "costs.json")
    return compare(merge(pages), [ours(cost=cost)], [], keys={})


def rows(
    count: int = 1, *, model: str = SNAPSHOT, served: bool = True, has_tokens: bool = False, user: str = "alice"
) -> Any:
    """Returns rows that may explain a difference."""
    return Candidates(
        day=DAY,
        model=model,
        user=user,
        served=served,
        has_tokens=has_tokens,
        count=count,
        ids=[f"id-{number}" for number in range(min(count, 5))],
    )


def test_equal_figures_give_no_lines() -> None:
    """The total states what was compared."""
    result = compared([ours()], [theirs()])
    assert (result.equal, result.total.ledger, result.total.openai) == (True, Counts(1, 10, 0, 2), Counts(1, 10, 0, 2))


@pytest.mark.parametrize("other", [Counts(2, 10, 0, 2), Counts(1, 11, 0, 2), Counts(1, 10, 1, 2), Counts(1, 10, 0, 1)])
def test_a_difference_of_one_is_a_line(other: Counts) -> None:
    """A difference in any count gives a line with both sides."""
    [line] = compared([ours()], [theirs(other)]).lines
    assert line == ComparedLine(day=DAY, model=SNAPSHOT, user=None, ledger=Counts(1, 10, 0, 2), openai=other)


def test_only_differing_lines_are_reported() -> None:
    """The total covers all lines."""
    result = compared([ours(), ours(model="gpt-6-astra")], [theirs(), theirs(Counts(1, 9, 0, 2), model="gpt-6-astra")])
    assert [line.model for line in result.lines] == ["gpt-6-astra"]
    assert result.total.missing == Counts(0, -1, 0, 0)


def test_figures_of_one_side_alone_are_a_line() -> None:
    """The other side has zero."""
    result = compared([ours(model="a")], [theirs(model="b")])
    assert [(line.model, line.missing) for line in result.lines] == [
        ("a", Counts(-1, -10, 0, -2)),
        ("b", Counts(1, 10, 0, 2)),
    ]


def test_unknown_cached_tokens_are_not_compared() -> None:
    """A count that OpenAI does not report is no difference."""
    assert compared([ours(Counts(1, 10, 5, 2))], [theirs(Counts(1, 10, None, 2))]).equal


def test_figures_without_models_are_compared_over_all_models() -> None:
    """The ledger's models are added up."""
    assert compared([ours(model="a"), ours(model="b")], [theirs(Counts(2, 20, 0, 4), model=None)]).equal


def test_without_keys_users_are_added_up() -> None:
    """The figures of all keys are added up, too."""
    assert compared([ours(user="alice"), ours(user="bob")], [theirs(Counts(2, 20, 0, 4), key="key_a")]).equal


def test_with_keys_users_are_compared_one_by_one() -> None:
    """Users without a key mapping are added up as others."""
    sums = [ours(user="alice"), ours(user="bob"), ours(user="carol")]
    figures = [theirs(key="key_a"), theirs(Counts(2, 20, 0, 5), key="key_b")]
    [line] = compared(sums, figures, keys={"key_a": "alice"}).lines
    assert (line.user, line.missing) == ("(others)", Counts(0, 0, 0, 1))


def test_a_user_may_have_several_keys() -> None:
    """A key may have been replaced."""
    figures = [theirs(key="key_a"), theirs(key="key_b")]
    assert compared([ours(Counts(2, 20, 0, 4))], figures, keys={"key_a": "alice", "key_b": "alice"}).equal


def test_figures_without_keys_cannot_be_compared_by_key() -> None:
    """The error states how to get figures by key."""
    with pytest.raises(InvalidValue, match="group_by=api_key_id"):
        compared([ours()], [theirs()], keys={"key_a": "alice"})


@pytest.mark.parametrize(
    ("requested", "snapshot"), [(MINI, SNAPSHOT), ("gpt-6", "gpt-6-0915"), ("gpt-6", "gpt-6-0915-preview")]
)
def test_row_without_an_answer_counts_for_the_snapshot(requested: str, snapshot: str) -> None:
    """OpenAI names the snapshot, while the ledger has only the requested name."""
    sums = [ours(model=snapshot), ours(model=requested, served=False)]
    assert compared(sums, [theirs(Counts(2, 20, 0, 4), model=snapshot)]).equal


def test_other_model_is_not_a_snapshot() -> None:
    """A snapshot of gpt-5.4-mini is not one of gpt-5.4."""
    result = compared([ours(model="gpt-5.4", served=False)], [theirs(model="gpt-5.4-mini-2026-03-17")])
    assert [line.model for line in result.lines] == ["gpt-5.4", "gpt-5.4-mini-2026-03-17"]


def test_rows_without_tokens_may_explain_missing_tokens() -> None:
    """Five rows are named, and all are counted."""
    [line] = compared([ours()], [theirs(Counts(1, 99, 0, 2))], [rows(7)]).lines
    assert (line.candidate_rows, line.candidate_count) == (["id-0", "id-1", "id-2", "id-3", "id-4"], 7)


def test_rows_with_tokens_may_explain_surplus_tokens() -> None:
    """A row without tokens cannot be why the ledger has more."""
    [line] = compared([ours()], [theirs(Counts(1, 1, 0, 2))], [rows(2), rows(1, has_tokens=True)]).lines
    assert (line.candidate_rows, line.candidate_count) == (["id-0"], 1)


def test_row_without_an_answer_is_a_candidate_for_any_snapshot() -> None:
    """Another model has other candidates."""
    candidates = [rows(model=MINI, served=False), rows(2, model="gpt-6-sol", served=False), rows(4, model=MINI)]
    [line] = compared([], [theirs()], candidates).lines
    assert line.candidate_count == 1


def test_candidate_rows_belong_to_the_user() -> None:
    """This holds where users are compared one by one."""
    result = compared([], [theirs(key="key_a")], [rows(2, user="bob"), rows(user="alice")], {"key_a": "alice"})
    assert [line.candidate_count for line in result.lines] == [1]


@pytest.mark.parametrize(("cost", "value"), [("0.06", "0.060000000000000005"), ("0.06", "0.06"), ("0.06", "0.0600")])
def test_amounts_that_differ_by_a_float_are_equal(cost: str, value: str) -> None:
    """OpenAI's digits after the sixteenth have no meaning."""
    assert compared_costs(cost, value).equal


def test_cheapest_token_is_a_difference() -> None:
    """The reported difference is exact."""
    [line] = compared_costs("12345678901.000000025", "12345678901.00000005").lines
    assert (line.model, line.missing, line.missing_cost) == (None, None, Decimal("0.000000025"))


def test_costs_have_no_counts() -> None:
    """A comparison of costs has no token counts."""
    total = compared_costs("1", "2").total
    assert (total.ledger, total.openai_cost) == (None, Decimal(2))


@pytest.mark.parametrize(
    ("first", "last"),
    [(date(2026, 12, 1), 31), (date(2028, 2, 1), 29), (date(2026, 2, 1), 28), (date(2026, 11, 1), 30)],
)
def test_month_is_compared_to_its_last_day(first: date, last: int) -> None:
    """The whole month is compared, whatever days the figures cover."""
    assert days_to_compare(first, (first, first)) == (first, first.replace(day=last))


def test_days_outside_the_month_are_ignored() -> None:
    """This holds on both sides."""
    figures = Figures([theirs()], [], (DAY, DAY), None)
    assert compare(figures, [ours()], [], keys={}, month=date(2026, 10, 1)).total.openai is None
