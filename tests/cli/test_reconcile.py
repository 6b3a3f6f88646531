"""`chatgpt-agent ledger reconcile` and `ledger correct`: their output and exit codes."""

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest

from chatgpt_agent.core.ledger import State
from tests.support.commands import Cli
from tests.support.ledger_rows import SNAPSHOT, november_id, november_row, ship_rows
from tests.support.openai_organization import KEY, START, answering, key_file, organization
from tests.support.upstream import Script, Upstream

ALICE, BOB = 1, 2


@pytest.fixture
def populated(cli: Cli) -> Cli:
    """The program with two users who made a request each on the first and second of November."""
    cli.add_user("alice")
    cli.add_user("bob")
    arguments = ["--input", "0.15", "--cached-input", "0.075", "--output", "0.6", "--from", "2026-01-01"]
    cli.ok("price", "set", "gpt-6-luna", *arguments)
    ship_rows(cli.settings["DATABASE_URL"], [november_row(1, ALICE, 1), november_row(2, BOB, 2)])
    return cli


def usage_file(folder: Path, *figures: tuple[int, str, tuple[int, int, int, int]]) -> str:
    """A page with day, key and counts (requests, input, cached, output) in each bucket; its name."""
    data = []
    for day, key, counts in figures:
        names = ("num_model_requests", "input_tokens", "input_cached_tokens", "output_tokens")
        result: dict[str, Any] = dict(zip(names, counts, strict=True))
        result |= {"object": "organization.usage.completions.result", "model": SNAPSHOT, "api_key_id": key}
        start = START + (day - 1) * 86_400
        data.append({"start_time": start, "end_time": start + 86_400, "results": [result]})
    path = folder / "usage.json"
    path.write_text(json.dumps({"object": "page", "data": data, "has_more": False}))
    return str(path)


def costs_file(folder: Path, *amounts: str) -> str:
    """An export of costs with an amount for each day from the first on; its name."""
    lines = [f"2026-11-{day:02},{amount},usd" for day, amount in enumerate(amounts, 1)]
    path = folder / "costs.csv"
    path.write_text("\n".join(["date,amount_value,amount_currency", *lines]))
    return str(path)


def equal_file(folder: Path) -> str:
    """A file in which OpenAI counts as the ledger does."""
    return usage_file(folder, (1, "key_a", (1, 10, 1, 2)), (2, "key_b", (1, 10, 1, 2)))


def unequal_file(folder: Path) -> str:
    """A file in which OpenAI counts one request more on the second day."""
    return usage_file(folder, (1, "key_a", (1, 10, 1, 2)), (2, "key_b", (2, 110, 1, 32)))


def differing(cli: Cli, *arguments: str) -> str:
    """The output of a comparison that finds differences."""
    result = cli.run("ledger", "reconcile", *arguments)
    assert (result.exit_code, result.stderr) == (1, "")
    return result.stdout_bytes.decode()


# Files.


def test_equal_figures_are_reported(populated: Cli, tmp_path: Path) -> None:
    """The output has the compared days and sums, and the exit code is 0."""
    lines = populated.ok("ledger", "reconcile", equal_file(tmp_path), costs_file(tmp_path, "0.000002625", "2.625e-6"))
    assert lines.splitlines() == [
        "Usage compared from 2026-11-01 to 2026-11-02 (UTC): completions.",
        "Costs compared from 2026-11-01 to 2026-11-02 (UTC).",
        "No differences: 2 requests, 20 input tokens, 2 cached input tokens, 4 output tokens, 0.00000525 USD.",
    ]


def test_differences_are_named_with_their_candidate_rows(populated: Cli, tmp_path: Path) -> None:
    """The last line is the total, and the exit code is 1."""
    ship_rows(populated.settings["DATABASE_URL"], [november_row(3, BOB, 2, State.UNKNOWN)])
    more = "1 request, 100 input tokens, 30 output tokens more at OpenAI than in the ledger"
    assert differing(populated, unequal_file(tmp_path)).splitlines()[1:] == [
        "Differences, the largest amount first:",
        "",
        f"{SNAPSHOT}: {more}, 2026-11-02",
        f"    candidate rows: {november_id(3)}",
        "",
        f"In all: {more}.",
    ]


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_endpoints_without_figures_are_left_out(populated: Cli, tmp_path: Path, form: str) -> None:
    """OpenAI counts embeddings, images and transcriptions apart from completions; every form says so."""
    paths = ["/v1/embeddings", "/v1/images/generations", "/v1/audio/transcriptions", "/v1/responses", "/v1/completions"]
    rows = [november_row(number, ALICE, 1) for number in range(3, 8)]
    intents = [msgspec.structs.replace(row.intent, endpoint=path) for row, path in zip(rows, paths, strict=True)]
    ship_rows(
        populated.settings["DATABASE_URL"],
        [msgspec.structs.replace(row, intent=intent) for row, intent in zip(rows, intents, strict=True)],
    )
    figures = usage_file(tmp_path, (1, "key_a", (3, 30, 3, 6)), (2, "key_b", (1, 10, 1, 2)))
    result = populated.run("ledger", "reconcile", figures, "--format", form)
    assert (result.exit_code, "Left out of the usage, because" in result.output) == (0, True)
    if form == "json":
        assert json.loads(result.stdout)["left_out"] == dict.fromkeys(paths[:3], 1)


def test_costs_are_those_of_all_endpoints(populated: Cli, tmp_path: Path) -> None:
    """OpenAI's costs contain embeddings."""
    row = november_row(3, ALICE, 1)
    intent = msgspec.structs.replace(row.intent, endpoint="/v1/embeddings")
    ship_rows(populated.settings["DATABASE_URL"], [msgspec.structs.replace(row, intent=intent)])
    costs = costs_file(tmp_path, "0.00000525", "0.000002625")
    assert "No differences" in populated.ok("ledger", "reconcile", equal_file(tmp_path), costs)


def test_key_without_figures_is_named(populated: Cli, tmp_path: Path) -> None:
    """Its id may be misspelled."""
    keys = ["--key", "key_a=alice", "--key", "key_b=bob", "--key", "key_x=bob"]
    out = populated.ok("ledger", "reconcile", equal_file(tmp_path), *keys)
    assert "OpenAI has no figures of key_x: check the ids of keys and their users." in out


def test_candidate_rows_beyond_five_are_counted(populated: Cli, tmp_path: Path) -> None:
    """The list says how many more there are."""
    ship_rows(
        populated.settings["DATABASE_URL"], [november_row(number, BOB, 2, State.UNKNOWN) for number in range(3, 10)]
    )
    assert f"{november_id(7)} and 2 more" in differing(populated, unequal_file(tmp_path))


def test_difference_in_cost_is_exact(populated: Cli, tmp_path: Path) -> None:
    """The day has a line of its own for the cost."""
    lines = differing(populated, costs_file(tmp_path, "0.000002625", "0.100002625")).splitlines()
    assert lines[-3] == "all costs: 0.10 USD more at OpenAI than in the ledger, 2026-11-02"


def test_csv_has_both_sides(populated: Cli, tmp_path: Path) -> None:
    """CSV has no total, which a spreadsheet would add to the sums."""
    [line] = csv.DictReader(io.StringIO(differing(populated, unequal_file(tmp_path), "--format", "csv")))
    assert (line["day"], line["model"], line["user"]) == ("2026-11-02", SNAPSHOT, "(all)")
    assert (line["ledger_requests"], line["openai_requests"]) == ("1", "2")
    assert (line["ledger_cost"], line["candidate_count"]) == ("", "0")
    assert (line["finding"], line["text"][:40]) == ("differs", f"{SNAPSHOT}: 1 request, 100 in"[:40])


def test_csv_of_equal_figures_has_headings(populated: Cli, tmp_path: Path) -> None:
    """The exit code is 0."""
    assert len(populated.ok("ledger", "reconcile", equal_file(tmp_path), "--format", "csv").splitlines()) == 1


def test_json_has_both_sides_and_the_total(populated: Cli, tmp_path: Path) -> None:
    """Amounts are text, which no reader rounds."""
    ship_rows(populated.settings["DATABASE_URL"], [november_row(3, BOB, 2, State.UNKNOWN)])
    arguments = [unequal_file(tmp_path), costs_file(tmp_path, "0.000002625", "0.000002625")]
    result = json.loads(differing(populated, *arguments, "--format", "json"))
    [line] = result["lines"]
    assert (result["equal"], result["usage_days"]) == (False, ["2026-11-01", "2026-11-02"])
    assert (line["openai_output"], line["ledger_output"], line["candidate_rows"]) == (32, 2, [str(november_id(3))])
    assert (line["kind"], line["first_day"], line["last_day"]) == ("completions", "2026-11-02", "2026-11-02")
    assert (result["total"]["openai_cost"], result["total"]["ledger_requests"]) == ("0.00000525", 2)


def test_csv_and_json_have_the_same_sentences_as_text(populated: Cli, tmp_path: Path) -> None:
    """A script and a reader see the same differences."""
    files = [unequal_file(tmp_path), costs_file(tmp_path, "0.1", "0.2")]
    text = differing(populated, *files)
    table = csv.DictReader(io.StringIO(differing(populated, *files, "--format", "csv")))
    lines = json.loads(differing(populated, *files, "--json"))["lines"]
    sentences = [line["text"] for line in lines]
    assert (len(sentences), [line["text"] for line in table]) == (3, sentences)
    assert [line for line in text.splitlines() if line in sentences] == sentences


def test_json_of_equal_figures_has_no_lines(populated: Cli, tmp_path: Path) -> None:
    """The exit code is 0."""
    result = json.loads(populated.ok("ledger", "reconcile", equal_file(tmp_path), "--format", "json"))
    assert (result["equal"], result["lines"]) == (True, [])


def test_keys_separate_users(populated: Cli, tmp_path: Path) -> None:
    """Each line has the name of its user."""
    arguments = ["--key", "key_a=alice", "--key", "key_b=bob", "--format", "json"]
    result = json.loads(differing(populated, unequal_file(tmp_path), *arguments))
    assert [line["user"] for line in result["lines"]] == ["bob"]


def keys_file(folder: Path, text: str) -> str:
    """A file with users and their keys; its name."""
    path = folder / "keys.csv"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        "user,api_key_id\nalice,key_a\nbob,key_b\n",
        "api_key_id;note;User\nkey_a;x;alice\nkey_b;;bob\n\n",
        "user,api_key_id,project_id\nalice,key_a,\nbob,key_b,proj_b\n",
    ],
)
def test_keys_are_read_from_a_file(populated: Cli, tmp_path: Path, text: str) -> None:
    """Columns are found by name, as in the files of `user import`."""
    arguments = ["--keys", keys_file(tmp_path, text), "--format", "json"]
    result = json.loads(differing(populated, unequal_file(tmp_path), *arguments))
    assert [line["user"] for line in result["lines"]] == ["bob"]


def test_keys_of_a_file_and_of_options_are_used_together(populated: Cli, tmp_path: Path) -> None:
    """An option may add the key of a new user."""
    arguments = ["--keys", keys_file(tmp_path, "user,api_key_id\nalice,key_a\n"), "--key", "key_b=bob", "--json"]
    result = json.loads(differing(populated, unequal_file(tmp_path), *arguments))
    assert [line["user"] for line in result["lines"]] == ["bob"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alice,key_a\n", "keys.csv: the column user, or one of the columns api_key_id and project_id, is missing"),
        ("user,api_key_id\nalice,\n", "keys.csv: line 2: needs a user and the id of a key or project"),
        ("user,api_key_id\nalice,k\nbob,k\n", "keys.csv: line 3: 'k' belongs to 'alice' already"),
        ("user,api_key_id\nalice,key_b\n", "the key 'key_b' belongs to 'alice' and to 'bob'"),
        ("user,api_key_id\nzoe,key_a\n", "there is no user 'zoe'"),
        (" ", "keys.csv: is empty"),
    ],
)
def test_invalid_file_of_keys_is_refused(shared_cli: Cli, tmp_path: Path, text: str, message: str) -> None:
    """The error is one line with the file and the fault."""
    arguments = [equal_file(tmp_path), "--keys", keys_file(tmp_path, text)]
    if "bob" not in text and "zoe" not in text:
        arguments += ["--key", "key_b=bob"]
    [line] = shared_cli.refused("ledger", "reconcile", *arguments)
    assert line.endswith(message)


def test_month_is_compared_completely(populated: Cli, tmp_path: Path) -> None:
    """Rows on days that the file does not have are differences."""
    result = differing(populated, usage_file(tmp_path, (1, "key_a", (1, 10, 1, 2))), "--month", "2026-11")
    assert "from 2026-11-01 to 2026-11-30" in result
    less = "1 request, 10 input tokens, 1 cached input token, 2 output tokens"
    assert f"{SNAPSHOT}: {less}, 2026-11-02: not at OpenAI" in result


def test_days_of_the_file_are_compared_by_default(populated: Cli, tmp_path: Path) -> None:
    """Rows on other days are no differences."""
    populated.ok("ledger", "reconcile", usage_file(tmp_path, (1, "key_a", (1, 10, 1, 2))))


def test_correction_makes_the_figures_equal(populated: Cli, tmp_path: Path) -> None:
    """A row without an answer is corrected to what OpenAI counted."""
    ship_rows(populated.settings["DATABASE_URL"], [november_row(3, BOB, 2, State.UNKNOWN)])
    populated.ok(
        "ledger", "correct", str(november_id(3)), "--input", "100", "--output", "30", "--reason", "result by reconcile"
    )
    populated.ok("ledger", "reconcile", unequal_file(tmp_path), "--month", "2026-11")


# Files that cannot be read.


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"{", "is not valid JSON"),
        (b"{}", "is not a page of OpenAI's usage or costs"),
        (b"[]", "contains no figures"),
        (b"hello", "is neither JSON nor an export of OpenAI's dashboard"),
        (b"date,model\n", "the column num_model_requests"),
        (b"\x00\x01\x02", "is neither JSON nor"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "is neither JSON nor CSV: it is not UTF-8 text"),
        (b'"date\n', "is neither JSON nor CSV"),
        (b"a" * 200_000, "is neither JSON nor CSV"),
        ('{"data":[]}'.encode("utf-16"), "is neither JSON nor CSV"),
    ],
)
def test_invalid_file_is_refused(shared_cli: Cli, tmp_path: Path, data: bytes, message: str) -> None:
    """The error is one line with the file and the fault, and the exit code is 1."""
    path = tmp_path / "figures"
    path.write_bytes(data)
    [line] = shared_cli.refused("ledger", "reconcile", str(path))
    assert line.startswith(f"Error: {path}: ")
    assert message in line


@pytest.mark.parametrize("name", ["missing", "."])
def test_missing_file_is_refused(shared_cli: Cli, tmp_path: Path, name: str) -> None:
    """The error is one line with the name of the file."""
    [line] = shared_cli.refused("ledger", "reconcile", str(tmp_path / name))
    assert f"{tmp_path / name}: cannot be read" in line


def test_byte_order_mark_is_ignored(populated: Cli, tmp_path: Path) -> None:
    """Spreadsheets write one."""
    path = Path(costs_file(tmp_path, "0.000002625", "0.000002625"))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    populated.ok("ledger", "reconcile", str(path))


# Wrong usage.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a FILE, or --fetch"),
        (["x.json", "--admin-key-file", "key"], "--admin-key-file is for --fetch"),
        (["x.json", "--fetch"], "give --fetch or FILE, not both"),
        (["--fetch", "--admin-key-file", "key"], "--fetch needs --month and --admin-key-file"),
        (["--fetch", "--month", "2026-11"], "--fetch needs --month and --admin-key-file"),
        (["x.json", "--month", "2026-13"], "--month"),
        (["x.json", "--month", "2026-11-01"], "--month"),
        (["x.json", "--format", "xml"], "--format"),
        (["x.json", "--key", "key_a"], "'key_a' is not KEYID=USER"),
        (["x.json", "--key", "=alice"], "'=alice' is not KEYID=USER"),
        (["x.json", "--key", "a=alice", "--key", "a=bob"], "the key 'a' is named twice"),
    ],
)
def test_invalid_arguments_are_refused(shared_cli: Cli, arguments: list[str], message: str) -> None:
    """The exit code is 2, and the error says what is needed."""
    assert message in shared_cli.refused("ledger", "reconcile", *arguments, code=2)[-1]


def test_unknown_user_is_refused(shared_cli: Cli, tmp_path: Path) -> None:
    """A misspelled name would look like missing rows."""
    arguments = [equal_file(tmp_path), "--key", "key_a=zoe"]
    assert shared_cli.refused("ledger", "reconcile", *arguments) == ["Error: there is no user 'zoe'"]


# Fetching.


class Served:
    """OpenAI's organization API in a thread of its own, because a command has the loop of this one."""

    def __init__(self, script: Script) -> None:
        self.fake = Upstream()
        self.fake.script = script
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)

    def start(self) -> None:
        """Starts the server."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.fake.start(), self._loop).result()

    def stop(self) -> None:
        """Ends the thread."""
        asyncio.run_coroutine_threadsafe(self.fake.stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def served() -> Iterator[Served]:
    """It, with three days of usage and one of costs."""
    served = Served(organization)
    served.start()
    yield served
    served.stop()


def fetching(served: Served, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """The arguments and the settings to fetch with."""
    path = key_file(tmp_path / "admin-key")
    arguments = ["ledger", "reconcile", "--fetch", "--month", "2026-11", "--admin-key-file", str(path)]
    return arguments, {"OPENAI_URL": served.fake.url}


def test_figures_are_fetched_and_compared(populated: Cli, served: Served, tmp_path: Path) -> None:
    """OpenAI has a request more than the ledger, and other costs."""
    arguments, settings = fetching(served, tmp_path)
    result = populated.run(*arguments, "--format", "json", settings=settings)
    lines = [(line["day"], line["model"]) for line in json.loads(result.stdout)["lines"]]
    assert lines == [("2026-11-01", None), ("2026-11-02", None), ("2026-11-03", SNAPSHOT)]


def test_key_file_that_others_can_read_is_refused(shared_cli: Cli, served: Served, tmp_path: Path) -> None:
    """Nothing is sent."""
    arguments, settings = fetching(served, tmp_path)
    (tmp_path / "admin-key").chmod(0o644)
    [line] = shared_cli.refused(*arguments, settings=settings)
    assert (f"chmod 600 {tmp_path / 'admin-key'}" in line, served.fake.requests) == (True, [])


def test_rejected_key_is_not_repeated(shared_cli: Cli, served: Served, tmp_path: Path) -> None:
    """The error holds neither the key nor the text of OpenAI."""
    served.fake.script = answering(f'{{"error":{{"message":"bad {KEY}"}}}}'.encode(), 401)
    arguments, settings = fetching(served, tmp_path)
    [line] = shared_cli.refused(*arguments, settings=settings)
    assert line.startswith("Error: OpenAI refuses the admin key (401)")
    assert KEY not in line


# Corrections.


def test_correction_shows_what_it_changes(populated: Cli) -> None:
    """The output has token counts and cost before and after."""
    arguments = ["--input", "20", "--output", "3", "--cached", "10", "--reason", "OpenAI's count"]
    first, *lines = populated.ok("ledger", "correct", str(november_id(1)), *arguments).splitlines()
    assert first.startswith(f"{november_id(1)} is corrected by ")
    assert lines == [
        "  input tokens: 10 → 20",
        "  cached tokens: 1 → 10",
        "  output tokens: 2 → 3",
        "  cost: 0.000002625 → 0.00000405 USD",
    ]


def test_correction_has_an_option_for_every_count(populated: Cli) -> None:
    """Counts that were 0 and stay 0 are not shown."""
    populated.ok("price", "surcharge", "set", "web_search", "0.01", "--from", "2026-11-01")
    arguments = ["--input", "20", "--output", "3", "--cached", "10", "--cache-write", "4", "--cache-write-12h", "1"]
    arguments += ["--web-search-calls", "2", "--reason", "OpenAI's count"]
    _, *lines = populated.ok("ledger", "correct", str(november_id(1)), *arguments).splitlines()
    assert lines == [
        "  input tokens: 10 → 20",
        "  cached tokens: 1 → 10",
        "  cache write 12h tokens: 0 → 1",
        "  cache write tokens: 0 → 4",
        "  output tokens: 2 → 3",
        "  web search calls: 0 → 2",
        "  cost: 0.000002625 → 0.02000405 USD",
    ]
    findings = json.loads(populated.run("ledger", "verify", "--json").stdout)
    assert {finding["check"] for finding in findings} <= {"partition"}  # the table has none of later months


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--seconds", "1.5", "--seconds: gpt-6-luna had no price per minute"),
        ("--seconds", "a minute", "'a minute' is not a number"),
        ("--file-search-calls", "1", "--file-search-calls: no surcharge of the kind file_search was in force"),
        ("--audio-input", "11", "--audio-input: these tokens are a part of input, which has room for 10 of them"),
    ],
)
def test_count_that_cannot_be_charged_is_refused(populated: Cli, option: str, value: str, message: str) -> None:
    """Nothing is charged 0 USD silently."""
    arguments = ["--input", "10", "--output", "1", "--reason", "why", option, value]
    *_, line = populated.refused("ledger", "correct", str(november_id(1)), *arguments, code=2)
    assert message in line


def test_unknown_token_counts_are_shown_as_unknown(populated: Cli) -> None:
    """They are not shown as 0."""
    ship_rows(populated.settings["DATABASE_URL"], [november_row(3, BOB, 2, State.UNKNOWN)])
    arguments = ["--input", "20", "--output", "3", "--reason", "why"]
    assert (
        "  input tokens: unknown → 20"
        in populated.ok("ledger", "correct", str(november_id(3)), *arguments).splitlines()
    )


def test_second_correction_is_refused(populated: Cli) -> None:
    """It changes nothing."""
    arguments = ["ledger", "correct", str(november_id(1)), "--reason", "why", "--output", "1", "--input"]
    populated.ok(*arguments, "20")
    [line] = populated.refused(*arguments, "30")
    assert line.startswith(f"Error: {november_id(1)} is corrected already, by ")


def test_correction_is_in_the_usage_report(populated: Cli) -> None:
    """It counts on the day of its row."""
    populated.ok("ledger", "correct", str(november_id(1)), "--input", "20", "--output", "3", "--reason", "why")
    result = json.loads(populated.ok("usage", "report", "--by", "day", "--format", "json"))["rows"]
    assert [(line["day"], line["requests"], line["input_tokens"]) for line in result] == [
        ("2026-11-01", 1, 20),
        ("2026-11-02", 1, 10),
    ]


def test_correction_of_an_unknown_row_is_refused(shared_cli: Cli) -> None:
    """The error has the request id."""
    arguments = ["--input", "1", "--output", "1", "--reason", "why"]
    assert shared_cli.refused("ledger", "correct", str(november_id(9)), *arguments) == [
        f"Error: there is no row of request {november_id(9)}"
    ]


@pytest.mark.parametrize("arguments", [("--cached", "2"), ("--reason", " ")])
def test_invalid_correction_is_refused(shared_cli: Cli, arguments: tuple[str, str]) -> None:
    """The error is one line, and the exit code is 2."""
    options = ["--input", "1", "--output", "1", "--reason", "why", *arguments]
    assert len(shared_cli.refused("ledger", "correct", str(november_id(1)), *options, code=2)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["x", "--input", "1", "--output", "1", "--reason", "why"],
        [str(november_id(1)), "--input", "1", "--output", "1"],
        [str(november_id(1)), "--input", "-1", "--output", "1", "--reason", "why"],
        [str(november_id(1)), "--input", "1.5", "--output", "1", "--reason", "why"],
        [str(november_id(1)), "--output", "1", "--reason", "why"],
    ],
)
def test_incomplete_correction_is_refused(shared_cli: Cli, arguments: list[str]) -> None:
    """An id, all counts and a reason are needed: else the exit code is 2."""
    shared_cli.refused("ledger", "correct", *arguments, code=2)
