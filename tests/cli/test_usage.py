"""`chatgpt-agent usage`: exact sums by groups, and the export of rows."""

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.export import EXPORT_COLUMNS
from chatgpt_agent.admin.reports import Reports, UsageFilter
from chatgpt_agent.core.ledger import Intent, Row, State
from chatgpt_agent.core.money.exact import exact_sum
from chatgpt_agent.core.money.kinds import CALL_COLUMNS, COUNT_COLUMNS, FORMER_COLUMNS, LATER_COLUMNS, TIME_COLUMN
from chatgpt_agent.core.usage import Usage
from tests.support.commands import Cli
from tests.support.database import query
from tests.support.ledger_rows import ship_rows
from tests.support.postgres_server import temporary_database

ALICE, BOB = 1, 2
TINY = "0.00000000000000000001"
NOTHING = {"requests": 0, "not_done": 0, **dict.fromkeys(COUNT_COLUMNS, 0), TIME_COLUMN: "0"}

# The columns of former versions have their old places.
HEADINGS = ("requests", "not_done", *FORMER_COLUMNS, "cost", "uncertain_cost", *LATER_COLUMNS)


def row(
    user: int,
    model: str,
    day: str,
    cost: str,
    *,
    tokens: tuple[int, int] = (1, 1),
    state: State = State.DONE,
    token: int = 1,
    uncertain_cost: str = "0",
) -> Row:
    """One request of a user on a day, with input and output tokens."""
    started = datetime.combine(date.fromisoformat(day), time(12), UTC)
    intent = Intent(
        request_id=uuid4(),
        user_id=user,
        token_id=token,
        endpoint="/v1/chat/completions",
        model=model,
        price_id=1,
        streamed=False,
        started_at=started,
    )
    return Row(
        intent=intent,
        state=state,
        price_id=1,
        cost=Decimal(cost),
        usage=Usage(input=tokens[0], output=tokens[1]),
        uncertain_cost=Decimal(uncertain_cost),
    )


def populate(cli: Cli) -> Cli:
    """Adds two users and four requests in two months."""
    cli.add_user("alice")
    cli.add_user("bob")
    ship_rows(
        cli.settings["DATABASE_URL"],
        [
            row(ALICE, "gpt-6-sol", "2026-10-31", "0.10", tokens=(100, 10)),
            row(ALICE, "gpt-6-sol", "2026-11-01", "0.20", tokens=(200, 20)),
            row(ALICE, "gpt-6-luna", "2026-11-02", TINY, tokens=(3, 4)),
            row(BOB, "gpt-6-sol", "2026-11-02", "12345678901234567890.5", tokens=(5, 6), state=State.INCOMPLETE),
        ],
    )
    return cli


@pytest.fixture(scope="module")
def populated(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The program with these users and requests, for tests that change nothing."""
    with temporary_database(postgres) as dsn:
        yield populate(Cli({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path_factory.mktemp("populated") / "data")}))


@pytest.fixture
def own_populated(cli: Cli) -> Cli:
    """The same, for one test that changes them."""
    return populate(cli)


def report(cli: Cli, *options: str) -> Any:
    """`usage report --format json`, without the former names of amounts."""
    result = json.loads(cli.ok("usage", "report", *options, "--format", "json"))
    return {"rows": list(map(without_former_names, result["rows"])), "total": without_former_names(result["total"])}


def without_former_names(record: dict[str, Any]) -> dict[str, Any]:
    """A record without the names that end with `_usd`."""
    return {name: value for name, value in record.items() if not name.endswith("_usd")}


def test_former_names_of_amounts_are_in_json(cli: Cli) -> None:
    """Programs may read them until version 0.3; CSV has the new names only."""
    total = json.loads(cli.ok("usage", "report", "--format", "json"))["total"]
    assert (total["cost_usd"], total["uncertain_cost_usd"]) == (total["cost"], total["uncertain_cost"])
    assert "_usd" not in cli.ok("usage", "report", "--format", "csv")


def costs(cli: Cli, *options: str) -> list[tuple[str, ...]]:
    """The groups of a report, each with its cost."""
    sums = {*NOTHING, "uncertain_cost"}
    return [tuple(value for key, value in line.items() if key not in sums) for line in report(cli, *options)["rows"]]


def test_report_is_by_user_and_model_by_default(populated: Cli) -> None:
    """A report has a row for each pair."""
    assert costs(populated) == [
        ("alice", "gpt-6-luna", TINY),
        ("alice", "gpt-6-sol", "0.3"),
        ("bob", "gpt-6-sol", "12345678901234567890.5"),
    ]


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("user", ["alice", "bob"]),
        ("model", ["gpt-6-luna", "gpt-6-sol"]),
        ("endpoint", ["/v1/chat/completions"]),
        ("day", ["2026-10-31", "2026-11-01", "2026-11-02"]),
        ("week", ["2026-W44", "2026-W45"]),
        ("month", ["2026-10", "2026-11"]),
    ],
)
def test_report_has_a_row_for_each_group(populated: Cli, by: str, groups: list[str]) -> None:
    """The rows are in the order of their groups."""
    assert [line[0] for line in costs(populated, "--by", by)] == groups


def test_groups_are_in_the_order_of_the_option(populated: Cli) -> None:
    """Rows are ordered by the first group, then by the second."""
    assert costs(populated, "--by", "month,user,day")[1:] == [
        ("2026-11", "alice", "2026-11-01", "0.2"),
        ("2026-11", "alice", "2026-11-02", TINY),
        ("2026-11", "bob", "2026-11-02", "12345678901234567890.5"),
    ]


def test_row_has_all_counts(populated: Cli) -> None:
    """A row counts requests, those that are not done, and tokens."""
    line = report(populated, "--by", "user")["rows"][0]
    assert line == {
        **NOTHING,
        "user": "alice",
        "requests": 3,
        "input_tokens": 303,
        "output_tokens": 34,
        "cost": f"0.3{TINY[3:]}",
        "uncertain_cost": "0",
    }


def test_requests_that_are_not_done_are_counted(populated: Cli) -> None:
    """The cost of such a request may be incomplete."""
    assert [line["not_done"] for line in report(populated, "--by", "user")["rows"]] == [0, 1]


@pytest.mark.parametrize("by", ["user", "token", "model", "endpoint", "day", "week", "month", "user,model,day,month"])
def test_total_is_exact(populated: Cli, by: str) -> None:
    """The total has every digit, whatever it is grouped by."""
    assert report(populated, "--by", by)["total"] == {
        **NOTHING,
        "requests": 4,
        "not_done": 1,
        "input_tokens": 308,
        "output_tokens": 40,
        "uncertain_cost": "0",
        "cost": f"12345678901234567890.8{TINY[3:]}",
    }


def test_rows_add_up_to_the_total(cli: Cli) -> None:
    """Amounts are added as decimals, not as floats."""
    ship_rows(cli.settings["DATABASE_URL"], [row(ALICE, "m", "2026-11-01", "0.000001") for _ in range(10)])
    result = report(cli)
    assert (result["rows"][0]["cost"], result["total"]["cost"]) == ("0.00001", "0.00001")


def test_since_is_the_first_day(populated: Cli) -> None:
    """The day itself is in the report, the day before is not."""
    assert [line[0] for line in costs(populated, "--by", "day", "--since", "2026-11-01")] == [
        "2026-11-01",
        "2026-11-02",
    ]


def test_until_is_the_last_day(populated: Cli) -> None:
    """The day itself is in the report, the day after is not."""
    assert [line[0] for line in costs(populated, "--by", "day", "--until", "2026-11-01")] == [
        "2026-10-31",
        "2026-11-01",
    ]


def test_since_and_until_may_be_the_same_day(populated: Cli) -> None:
    """Both days are included."""
    result = costs(populated, "--by", "day", "--since", "2026-11-01", "--until", "2026-11-01")
    assert [line[0] for line in result] == ["2026-11-01"]


def test_days_are_utc_by_default(cli: Cli) -> None:
    """The last second of a day and the first of the next count on different days."""
    late, early = row(ALICE, "m", "2026-11-01", "1"), row(ALICE, "m", "2026-11-02", "2")
    at = datetime(2026, 11, 1, 23, 59, 59, tzinfo=UTC)
    moved = Intent(
        request_id=late.intent.request_id,
        user_id=ALICE,
        token_id=1,
        endpoint="/v1/chat/completions",
        model="m",
        price_id=1,
        streamed=False,
        started_at=at,
    )
    ship_rows(
        cli.settings["DATABASE_URL"],
        [Row(intent=moved, state=late.state, price_id=1, cost=late.cost, usage=late.usage), early],
    )
    assert costs(cli, "--by", "day") == [("2026-11-01", "1"), ("2026-11-02", "2")]


def test_table_ends_with_the_total(populated: Cli) -> None:
    """The last line has the sums of its columns."""
    last = populated.ok("usage", "report").splitlines()[-1]
    assert last.split() == ["total", "4", "1", "308", "0", "40", "0", f"12345678901234567890.8{TINY[3:]}"]


def test_table_has_headings(populated: Cli) -> None:
    """The headings are the names of the columns."""
    first = populated.ok("usage", "report", "--by", "day").splitlines()[0]
    assert first.split("  ")[0] == "day"
    assert first.endswith("cost usd")


def test_csv_has_headings_and_a_line_for_each_group(populated: Cli) -> None:
    """CSV has no total, which a spreadsheet would add to the sums."""
    text = populated.ok("usage", "report", "--by", "day,user", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(text)))
    assert text.startswith("day,user,requests,")
    assert [(line["day"], line["user"], line["cost"]) for line in lines] == costs(populated, "--by", "day,user")


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@SUM(A1)"])
def test_csv_has_no_formulas(cli: Cli, name: str) -> None:
    """A name that begins like a formula is guarded by an apostrophe."""
    cli.ok("user", "add", "--openai-key-stdin", "--", name, stdin="sk-x")
    ship_rows(cli.settings["DATABASE_URL"], [row(ALICE, "m", "2026-11-01", "1")])
    lines = list(csv.reader(io.StringIO(cli.ok("usage", "report", "--format", "csv"))))
    assert lines[1][0] == f"'{name}"


def test_csv_quotes_special_characters(cli: Cli) -> None:
    """A comma and a quotation mark in a name stay in its column."""
    cli.add_user('a,b"c')
    ship_rows(cli.settings["DATABASE_URL"], [row(ALICE, "m", "2026-11-01", "1")])
    lines = list(csv.reader(io.StringIO(cli.ok("usage", "report", "--format", "csv"))))
    assert lines[1][0] == 'a,b"c'


def test_deleted_user_is_shown_by_id(cli: Cli) -> None:
    """Rows of a user that was deleted from the database are reported under the id."""
    ship_rows(cli.settings["DATABASE_URL"], [row(77, "m", "2026-11-01", "1")])
    assert costs(cli, "--by", "user") == [("user 77", "1")]


@pytest.mark.parametrize(
    ("form", "out"),
    [
        ("json", {"rows": [], "total": {"requests": 0, "cost": "0"}}),
        (
            "csv",
            f"user,model,{','.join(HEADINGS)}\n",
        ),
    ],
)
def test_report_of_an_empty_database_is_empty(shared_cli: Cli, form: str, out: Any) -> None:
    """CSV has its headings, and JSON a total of zero."""
    printed = shared_cli.run("usage", "report", "--format", form).stdout_bytes.decode()
    if form == "json":
        result = json.loads(printed)
        total = {key: result["total"][key] for key in out["total"]}
        assert {"rows": result["rows"], "total": total} == out
    else:
        assert printed == out


def test_table_of_an_empty_database_has_a_total(shared_cli: Cli) -> None:
    """The total is zero."""
    assert shared_cli.ok("usage", "report").splitlines()[-1].split() == ["total", *"0000000"]


@pytest.mark.parametrize("by", ["", "name", "user,", ",", "user,user", "User", "user model", "day;DROP TABLE usage"])
def test_unknown_group_is_refused(shared_cli: Cli, by: str) -> None:
    """The exit code is 2, and the error names the option."""
    assert "--by" in shared_cli.refused("usage", "report", "--by", by, code=2)[-1]


@pytest.mark.parametrize("option", ["--since", "--until"])
@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "2026-1", "01.11.2026", "2026-11-01T00:00:00", ""])
def test_invalid_day_is_refused(shared_cli: Cli, option: str, day: str) -> None:
    """The exit code is 2, and the error names the option."""
    assert option in shared_cli.refused("usage", "report", option, day, code=2)[-1]


def test_unknown_format_is_refused(shared_cli: Cli) -> None:
    """The exit code is 2, and the error lists the formats."""
    line = shared_cli.refused("usage", "report", "--format", "xml", code=2)[-1]
    assert all(name in line for name in ("table", "csv", "json"))


def test_until_before_since_is_refused(cli: Cli) -> None:
    """An empty report would look like no usage."""
    lines = cli.refused("usage", "report", "--since", "2026-12-01", "--until", "2026-01-01", code=2)
    assert lines[-1] == "Error: --until is before --since"


# Tokens, and parts of the populated.


def test_token_is_shown_by_its_label_and_prefix(cli: Cli) -> None:
    """The id is a column of its own, because two tokens may have one label."""
    cli.add_user("alice")
    token = cli.ok("token", "issue", "alice", "--label", "laptop").strip()
    ship_rows(
        cli.settings["DATABASE_URL"],
        [row(ALICE, "m", "2026-11-01", "1", token=2), row(ALICE, "m", "2026-11-01", "2", token=9)],
    )
    rows = report(cli, "--by", "token")["rows"]
    assert [(line["token"], line["token_id"]) for line in rows] == [(f"laptop ({token[:8]}…)", 2), ("token 9", 9)]


def test_tokens_with_the_same_label_are_two_rows(cli: Cli) -> None:
    """They stay apart even if label and prefix are equal."""
    cli.add_user("alice")
    cli.ok("token", "issue", "alice", "--label", "laptop")
    query(cli.settings["DATABASE_URL"], "UPDATE tokens SET label = 'laptop', token_prefix = 'cga_0000'")
    ship_rows(
        cli.settings["DATABASE_URL"],
        [row(ALICE, "m", "2026-11-01", "1", token=1), row(ALICE, "m", "2026-11-01", "2", token=2)],
    )
    assert [line["cost"] for line in report(cli, "--by", "token")["rows"]] == ["1", "2"]


@pytest.mark.parametrize(
    ("options", "cost"),
    [
        (["--user", "alice"], f"0.3{TINY[3:]}"),
        (["--model", "gpt-6-luna"], TINY),
        (["--token", "1", "--until", "2026-10-31"], "0.1"),
    ],
)
def test_report_can_be_limited(populated: Cli, options: list[str], cost: str) -> None:
    """A user, a model or a token can be combined with days."""
    assert report(populated, *options)["total"]["cost"] == cost


def test_name_that_is_probably_meant_is_a_hint(populated: Cli) -> None:
    """Names of users and models are case-sensitive."""
    for options, meant in ((["--user", "Alice"], "alice"), (["--model", "GPT-6-sol"], "gpt-6-sol")):
        for command in ("report", "export"):
            [line] = populated.refused("usage", command, *options)
            assert line.endswith(f"; did you mean '{meant}'?")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--user", "carol"], "Error: there is no user 'carol'"),
        (["--model", "o9"], "Error: there is no price or request of a model 'o9'"),
        (["--token", "77"], "Error: there is no token 77"),
    ],
)
@pytest.mark.parametrize("command", ["report", "export"])
def test_unknown_user_or_token_is_refused(shared_cli: Cli, command: str, options: list[str], line: str) -> None:
    """An empty report would look like no usage."""
    assert shared_cli.refused("usage", command, *options) == [line]


def test_removed_user_keeps_the_name(own_populated: Cli) -> None:
    """The name is in the rows and can be given as --user."""
    query(
        own_populated.settings["DATABASE_URL"],
        "UPDATE users SET removed_at = now(), upstream_key = '' WHERE name = 'bob'",
    )
    assert costs(own_populated, "--by", "user", "--user", "bob") == [("bob", "12345678901234567890.5")]


def test_uncertain_cost_is_a_column_of_its_own(cli: Cli) -> None:
    """The maximum that rows of unknown cost may have cost is left out of a table without such rows."""
    ship_rows(cli.settings["DATABASE_URL"], [row(ALICE, "m", "2026-11-01", "1")])
    assert "uncertain" not in cli.ok("usage", "report")
    ship_rows(
        cli.settings["DATABASE_URL"], [row(ALICE, "m", "2026-11-01", "0", state=State.UNKNOWN, uncertain_cost="0.5")]
    )
    assert cli.ok("usage", "report").splitlines()[-1].split()[-2:] == ["1", "0.5"]
    assert report(cli)["total"]["uncertain_cost"] == "0.5"


def test_rare_kinds_of_tokens_are_columns_if_used(cli: Cli) -> None:
    """Columns of audio, images and cache writes are left out of a table if they hold only zeros."""
    ship_rows(cli.settings["DATABASE_URL"], [row(ALICE, "m", "2026-11-01", "1")])
    assert "audio" not in cli.ok("usage", "report")
    spoken = row(ALICE, "m", "2026-11-01", "1")
    ship_rows(
        cli.settings["DATABASE_URL"], [msgspec.structs.replace(spoken, usage=Usage(input=5, output=5, audio_input=3))]
    )
    assert "audio input tokens" in cli.ok("usage", "report")
    assert "audio output tokens" not in cli.ok("usage", "report")


# Single rows.


def test_export_has_every_row(populated: Cli) -> None:
    """The amounts of the rows add up to those of the report."""
    rows = list(csv.DictReader(io.StringIO(populated.ok("usage", "export"))))
    assert sorted(line["day"] for line in rows) == ["2026-10-31", "2026-11-01", "2026-11-02", "2026-11-02"]
    assert exact_sum(Decimal(line["cost"]) for line in rows) == Decimal(f"12345678901234567890.8{TINY[3:]}")
    assert {line["user"] for line in rows} == {"alice", "bob"}


def test_export_as_json_has_the_same_rows(populated: Cli) -> None:
    """The output is one array, with null for cells that are empty in CSV."""
    rows = [without_former_names(row) for row in json.loads(populated.ok("usage", "export", "--format", "json"))]
    lines = list(csv.DictReader(io.StringIO(populated.ok("usage", "export"))))
    assert [{key: "" if value is None else str(value) for key, value in line.items()} for line in rows] == lines


def test_export_continues_over_pages(cli: Cli, dsn: str) -> None:
    """No row is missed or repeated at the end of a page or of a month."""
    ship_rows(
        cli.settings["DATABASE_URL"],
        [row(ALICE, "m", f"2026-{month}-01", "1") for month in ("10", "11") for _ in range(6)],
    )

    async def export() -> list[str]:
        async with Store(dsn) as store:
            return [str(line[0]) async for page in Reports(store, page=3).export(UsageFilter()) for line in page]

    ids = asyncio.run(export())
    assert (len(ids), len(set(ids))) == (12, 12)


def test_export_can_be_limited_to_days(own_populated: Cli) -> None:
    """The days are those of the configured time zone, also at the end of a month."""
    query(
        own_populated.settings["DATABASE_URL"],
        "UPDATE settings SET value = 'Pacific/Kiritimati' WHERE name = 'time_zone'",
    )
    query(own_populated.settings["DATABASE_URL"], "SELECT rebuild_usage_daily()")
    rows = csv.DictReader(
        io.StringIO(own_populated.ok("usage", "export", "--since", "2026-11-01", "--until", "2026-11-01"))
    )
    assert [line["started_at"] for line in rows] == ["2026-10-31T12:00:00.000000Z"]


@pytest.mark.parametrize(("form", "out"), [("json", "[\n\n]\n"), ("csv", ",".join(EXPORT_COLUMNS) + "\n")])
def test_export_of_an_empty_database_is_valid(shared_cli: Cli, form: str, out: str) -> None:
    """JSON is an empty array, and CSV has its headings."""
    assert shared_cli.run("usage", "export", "--format", form).stdout_bytes.decode() == out


# Rows of later days.


@pytest.mark.parametrize("command", [("report", "--by", "user", "--format", "csv"), ("export",)])
def test_rows_of_a_later_day_do_not_count_in_sums_that_begin(cli: Cli, command: tuple[str, ...]) -> None:
    """With `--since` alone, today is the last day: the clock of an agent was ahead."""
    cli.add_user("alice")
    today = datetime.now(UTC).date()
    rows = [row(ALICE, "gpt-6-sol", str(day), "1") for day in (today, today + timedelta(days=2))]
    ship_rows(cli.settings["DATABASE_URL"], rows)
    assert len(cli.ok("usage", *command, "--since", str(today)).splitlines()) == 2
    [_, line] = cli.ok("usage", "report", "--by", "user", "--format", "csv", "--since", str(today)).splitlines()
    assert line.startswith("alice,1,")
    everything = ("--since", str(today), "--until", str(today + timedelta(days=2)))
    [_, line] = cli.ok("usage", "report", "--by", "user", "--format", "csv", *everything).splitlines()
    assert line.startswith("alice,2,")


@pytest.mark.parametrize("command", ["report", "export"])
def test_csv_for_excel_has_a_byte_order_mark(populated: Cli, command: str) -> None:
    """Without the mark Excel does not read UTF-8; its lines end with CRLF. Other CSV has neither."""
    plain = populated.run("usage", command, "--format", "csv").stdout_bytes
    excel = populated.run("usage", command, "--format", "csv-excel").stdout_bytes
    assert b"\r" not in plain
    assert excel == b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n")


def everything(cli: Cli) -> Row:
    """Writes and returns a row with a count of everything that is charged, and with surcharges."""
    columns = "(id, kind, host, model, amount, effective_at, created_at)"
    values = "(7, 'multiplier', 'h', '', 1.10, now(), now()), (8, 'web_search', '', '', 0.010, now(), now())"
    query(cli.settings["DATABASE_URL"], f"INSERT INTO surcharges {columns} VALUES {values}")
    names = set(Usage.__struct_fields__) - {"seconds", "image_tool", "uncertain_reason"}
    counts: dict[str, Any] = {name: number for number, name in enumerate(sorted(names), start=2)}
    usage = Usage(**counts, seconds=Decimal("1.50"), image_tool=Usage(input=1, output=9))
    written = msgspec.structs.replace(
        row(ALICE, "m", "2026-11-01", "1"),
        usage=usage,
        surcharge_ids=(7, 8),
        uncertain_reason="image_cache",
        uncertain_cost=Decimal("0.5"),
    )
    ship_rows(cli.settings["DATABASE_URL"], [written])
    return written


def test_report_has_everything_that_is_charged(cli: Cli) -> None:
    """Seconds are exact text in JSON, and a table has the columns that are not 0."""
    everything(cli)
    total = report(cli)["total"]
    assert (total["seconds"], total["image_tool_output_tokens"]) == ("1.5", 9)
    assert 0 not in [total[name] for name in ("cache_write_12h_tokens", "cached_audio_tokens", *CALL_COLUMNS.values())]
    headings = cli.ok("usage", "report").splitlines()[0]
    assert "web search calls" in headings
    assert "image tool cached tokens" not in headings


def test_seconds_are_added_exactly(cli: Cli) -> None:
    """The sum of many seconds has every digit."""
    seconds = [Decimal("0.1"), Decimal("999999999999.999999999"), Decimal("0.000000001")]
    rows = [
        msgspec.structs.replace(row(ALICE, f"m{n}", "2026-11-01", "1"), usage=Usage(input=0, output=0, seconds=each))
        for n, each in enumerate(seconds)
    ]
    ship_rows(cli.settings["DATABASE_URL"], rows)
    assert report(cli)["total"]["seconds"] == "1000000000000.1"


def test_export_has_everything_that_is_charged(cli: Cli) -> None:
    """The columns of former versions keep their places; the others come after them."""
    everything(cli)
    [line] = csv.DictReader(io.StringIO(cli.ok("usage", "export")))
    last = dict(list(line.items())[-4:])
    assert last == {
        "seconds": "1.5", "uncertain_reason": "image_cache", "image_model": "",
        "surcharges": "multiplier=1.1; web_search=0.01",
    }  # fmt: skip
    [record] = json.loads(cli.ok("usage", "export", "--format", "json"))
    assert (record["seconds"], record["surcharges"]) == ("1.5", {"multiplier": "1.1", "web_search": "0.01"})
    assert list(line)[:12] == [*record][:12]
    assert list(line)[12:26] == [*FORMER_COLUMNS, "cost", "uncertain_cost", "upstream_id", "corrects", "reason"]


def test_list_of_rows_has_everything_that_is_charged(cli: Cli) -> None:
    """JSON has amounts and seconds as text, a table the surcharges and why the cost is uncertain."""
    everything(cli)
    [line] = json.loads(cli.ok("ledger", "list", "--format", "json"))
    assert (line["seconds"], line["surcharges"]) == ("1.5", {"multiplier": "1.1", "web_search": "0.01"})
    assert (line["uncertain_reason"], line["web_search_calls"] > 0) == ("image_cache", True)
    table = cli.ok("ledger", "list")
    assert "image_cache" in table
    assert "multiplier=1.1; web_search=0.01" in table
    [line] = csv.DictReader(io.StringIO(cli.ok("ledger", "list", "--format", "csv")))
    assert (line["seconds"], line["surcharges"]) == ("1.5", "multiplier=1.1; web_search=0.01")
