"""`chatgpt-agent usage report`: sums that are exact, by whatever they are asked for."""

import asyncio
import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from chatgpt_agent.core.ledger import Intent, Row, State
from chatgpt_agent.core.usage import Usage
from chatgpt_agent.edges.store.connection import Store
from chatgpt_agent.edges.store.ledger import ensure_partition, ship
from tests.cli.commands import Cli

ALICE, BOB = 1, 2
TINY = "0.00000000000000000001"


def row(
    user: int, model: str, day: str, cost: str, *, tokens: tuple[int, int] = (1, 1), state: State = State.DONE
) -> Row:
    """One request of a user on a day, with input and output tokens."""
    started = datetime.combine(date.fromisoformat(day), time(12), UTC)
    intent = Intent(uuid4(), user, 1, "/v1/chat/completions", model, 1, False, started)
    return Row(intent, state, 1, Decimal(cost), Usage(tokens[0], tokens[1]))


def write(cli: Cli, rows: Sequence[Row]) -> None:
    """Puts rows into the ledger."""

    async def work() -> None:
        async with Store(cli.settings["DATABASE_URL"]) as store:
            for started in {row.intent.started_at for row in rows}:
                await ensure_partition(store, started)
            await ship(store, rows)

    asyncio.run(work())


@pytest.fixture
def books(cli: Cli) -> Cli:
    """The program with two users and four requests in two months."""
    cli.add_user("alice")
    cli.add_user("bob")
    write(
        cli,
        [
            row(ALICE, "gpt-4o", "2026-10-31", "0.10", tokens=(100, 10)),
            row(ALICE, "gpt-4o", "2026-11-01", "0.20", tokens=(200, 20)),
            row(ALICE, "gpt-4o-mini", "2026-11-02", TINY, tokens=(3, 4)),
            row(BOB, "gpt-4o", "2026-11-02", "12345678901234567890.5", tokens=(5, 6), state=State.INCOMPLETE),
        ],
    )
    return cli


def report(cli: Cli, *words: str) -> Any:
    """`usage report --format json`."""
    return json.loads(cli.ok("usage", "report", *words, "--format", "json"))


def costs(cli: Cli, *words: str) -> list[tuple[str, ...]]:
    """The groups of a report, each with its cost."""
    counts = {"requests", "not_done", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"}
    return [tuple(value for key, value in line.items() if key not in counts) for line in report(cli, *words)["rows"]]


def test_it_is_by_user_and_model_where_nothing_is_asked(books: Cli) -> None:
    """A line for each pair."""
    assert costs(books) == [
        ("alice", "gpt-4o", "0.3"),
        ("alice", "gpt-4o-mini", TINY),
        ("bob", "gpt-4o", "12345678901234567890.5"),
    ]


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("user", ["alice", "bob"]),
        ("model", ["gpt-4o", "gpt-4o-mini"]),
        ("day", ["2026-10-31", "2026-11-01", "2026-11-02"]),
        ("month", ["2026-10", "2026-11"]),
    ],
)
def test_it_is_by_what_is_asked(books: Cli, by: str, groups: list[str]) -> None:
    """A line for each group, in order."""
    assert [line[0] for line in costs(books, "--by", by)] == groups


def test_groups_come_in_the_order_in_which_they_are_asked(books: Cli) -> None:
    """By the first, within it by the second, and so on."""
    assert costs(books, "--by", "month,user,day")[1:] == [
        ("2026-11", "alice", "2026-11-01", "0.2"),
        ("2026-11", "alice", "2026-11-02", TINY),
        ("2026-11", "bob", "2026-11-02", "12345678901234567890.5"),
    ]


def test_a_line_has_all_the_counts(books: Cli) -> None:
    """Requests, those that are not done, and tokens."""
    line = report(books, "--by", "user")["rows"][0]
    assert line == {
        "user": "alice",
        "requests": 3,
        "not_done": 0,
        "input_tokens": 303,
        "cached_tokens": 0,
        "output_tokens": 34,
        "reasoning_tokens": 0,
        "cost_usd": f"0.3{TINY[3:]}",
    }


def test_requests_that_are_not_done_are_counted(books: Cli) -> None:
    """Their cost may not be whole."""
    assert [line["not_done"] for line in report(books, "--by", "user")["rows"]] == [0, 1]


@pytest.mark.parametrize("by", ["user", "model", "day", "month", "user,model,day,month"])
def test_the_total_is_exact(books: Cli, by: str) -> None:
    """From the largest to the smallest digit, however it is grouped."""
    assert report(books, "--by", by)["total"] == {
        "requests": 4,
        "not_done": 1,
        "input_tokens": 308,
        "cached_tokens": 0,
        "output_tokens": 40,
        "reasoning_tokens": 0,
        "cost_usd": f"12345678901234567890.8{TINY[3:]}",
    }


def test_the_lines_add_up_to_the_total(cli: Cli) -> None:
    """Ten thousandths of a cent are a hundredth of one: no float is on the way."""
    write(cli, [row(ALICE, "m", "2026-11-01", "0.000001") for _ in range(10)])
    found = report(cli)
    assert (found["rows"][0]["cost_usd"], found["total"]["cost_usd"]) == ("0.00001", "0.00001")


def test_since_is_the_first_day(books: Cli) -> None:
    """It is in the report, the day before is not."""
    assert [line[0] for line in costs(books, "--by", "day", "--since", "2026-11-01")] == ["2026-11-01", "2026-11-02"]


def test_until_is_the_last_day(books: Cli) -> None:
    """It is in the report, the day after is not."""
    assert [line[0] for line in costs(books, "--by", "day", "--until", "2026-11-01")] == ["2026-10-31", "2026-11-01"]


def test_one_day_is_from_it_to_it(books: Cli) -> None:
    """Both ends count."""
    found = costs(books, "--by", "day", "--since", "2026-11-01", "--until", "2026-11-01")
    assert [line[0] for line in found] == ["2026-11-01"]


def test_days_are_utc(cli: Cli) -> None:
    """The last second of a day and the first of the next are apart, whatever the machine's time zone is."""
    late, early = row(ALICE, "m", "2026-11-01", "1"), row(ALICE, "m", "2026-11-02", "2")
    at = datetime(2026, 11, 1, 23, 59, 59, tzinfo=UTC)
    moved = Intent(late.intent.request_id, ALICE, 1, "/v1/chat/completions", "m", 1, False, at)
    write(cli, [Row(moved, late.state, 1, late.cost, late.usage), early])
    assert costs(cli, "--by", "day") == [("2026-11-01", "1"), ("2026-11-02", "2")]


def test_a_table_has_a_last_line_with_the_total(books: Cli) -> None:
    """Below the columns that it sums up."""
    last = books.ok("usage", "report").splitlines()[-1]
    assert last.split() == ["total", "4", "1", "308", "0", "40", "0", f"12345678901234567890.8{TINY[3:]}"]


def test_a_table_has_headings(books: Cli) -> None:
    """The names of the columns."""
    first = books.ok("usage", "report", "--by", "day").splitlines()[0]
    assert first.split("  ")[0] == "day"
    assert first.endswith("cost usd")


def test_csv_has_a_heading_and_a_line_for_each_group(books: Cli) -> None:
    """And no total, which a spreadsheet would count in."""
    lines = list(csv.reader(io.StringIO(books.ok("usage", "report", "--by", "day,user", "--format", "csv"))))
    assert lines[0][:3] == ["day", "user", "requests"]
    assert [(line[0], line[1], line[-1]) for line in lines[1:]] == costs(books, "--by", "day,user")


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@SUM(A1)"])
def test_csv_has_no_formulas(cli: Cli, name: str) -> None:
    """A spreadsheet takes a name that begins like one for a text."""
    cli.ok("user", "add", "--openai-key-stdin", "--", name, stdin="sk-x")
    write(cli, [row(ALICE, "m", "2026-11-01", "1")])
    lines = list(csv.reader(io.StringIO(cli.ok("usage", "report", "--format", "csv"))))
    assert lines[1][0] == f"'{name}"


def test_csv_quotes_what_it_must(cli: Cli) -> None:
    """A comma and a quotation mark in a name stay in its column."""
    cli.add_user('a,b"c')
    write(cli, [row(ALICE, "m", "2026-11-01", "1")])
    lines = list(csv.reader(io.StringIO(cli.ok("usage", "report", "--format", "csv"))))
    assert lines[1][0] == 'a,b"c'


def test_a_user_who_is_gone_keeps_the_rows(cli: Cli) -> None:
    """Under their number."""
    write(cli, [row(77, "m", "2026-11-01", "1")])
    assert costs(cli, "--by", "user") == [("user 77", "1")]


@pytest.mark.parametrize(
    ("form", "out"),
    [
        ("json", {"rows": [], "total": {"requests": 0, "cost_usd": "0"}}),
        ("csv", "user,model,requests,not_done,input_tokens,cached_tokens,output_tokens,reasoning_tokens,cost_usd\r\n"),
    ],
)
def test_an_empty_database_has_an_empty_report(shared_cli: Cli, form: str, out: Any) -> None:
    """Nothing was used, and it cost nothing."""
    printed = shared_cli.run("usage", "report", "--format", form).stdout_bytes.decode()
    if form == "json":
        found = json.loads(printed)
        total = {key: found["total"][key] for key in out["total"]}
        assert {"rows": found["rows"], "total": total} == out
    else:
        assert printed == out


def test_an_empty_database_has_an_empty_table(shared_cli: Cli) -> None:
    """With a total of nothing."""
    assert shared_cli.ok("usage", "report").splitlines()[-1].split() == ["total", *"0000000"]


@pytest.mark.parametrize("by", ["", "name", "user,", ",", "user,user", "User", "user model", "day;DROP TABLE usage"])
def test_by_takes_known_groups(shared_cli: Cli, by: str) -> None:
    """Exit code 2 for any other, naming the option."""
    assert "--by" in shared_cli.refused("usage", "report", "--by", by, code=2)[-1]


@pytest.mark.parametrize("option", ["--since", "--until"])
@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "2026-1", "01.11.2026", "2026-11-01T00:00:00", ""])
def test_a_day_is_a_date(shared_cli: Cli, option: str, day: str) -> None:
    """Exit code 2 for any other, naming the option."""
    assert option in shared_cli.refused("usage", "report", option, day, code=2)[-1]


def test_a_format_is_one_of_three(shared_cli: Cli) -> None:
    """Exit code 2 for any other, naming them."""
    line = shared_cli.refused("usage", "report", "--format", "xml", code=2)[-1]
    assert all(name in line for name in ("table", "csv", "json"))


def test_report_refuses_an_end_before_the_beginning(cli: Cli) -> None:
    """Rather than an empty report that looks like no usage."""
    lines = cli.refused("usage", "report", "--since", "2026-12-01", "--until", "2026-01-01", code=2)
    assert lines[-1] == "Error: --until is before --since"
