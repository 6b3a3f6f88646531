"""Tests of files with prices, and of the errors of other files."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.admin.price_import import read_file
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money import price_files
from chatgpt_agent.core.money.price_files import read_prices
from tests.support.litellm import LIST

JSON = json.dumps(LIST).encode()
CSV = b"model,input,output\ngpt-one,1,2\nother,3,4\n"
ENTRY = '"m": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": %s, "output_cost_per_token": 0}'


def models(data: bytes) -> list[str]:
    """The names of a file's prices."""
    return [new.model for new in read_prices(data, "f").prices]


@pytest.mark.parametrize("data", [JSON, b"\xef\xbb\xbf" + JSON, b"\n  " + JSON, json.dumps(LIST, indent=4).encode()])
def test_litellm_list_is_read_in_any_layout(tmp_path: Path, data: bytes) -> None:
    """Byte order marks, white space and indentation do not matter."""
    (tmp_path / "f").write_bytes(data)
    file = read_file(tmp_path / "f")
    assert (len(file.prices), len(file.skipped)) == (8, 8)


@pytest.mark.parametrize(
    "data", [CSV, b"\xef\xbb\xbf" + CSV, CSV.replace(b"\n", b"\r\n"), b'"model",input,output\nm,1,1']
)
def test_csv_is_read_as_spreadsheets_write_it(tmp_path: Path, data: bytes) -> None:
    """A byte order mark, CRLF and quotes are accepted."""
    (tmp_path / "f").write_bytes(data)
    assert read_file(tmp_path / "f").prices[0].rates.input == 1


@pytest.mark.parametrize("data", [JSON, CSV])
def test_only_selected_models_are_read(data: bytes) -> None:
    """Models are selected by the name that they get here."""
    selected = read_prices(data, "f", lambda model: model == "gpt-one")
    assert [new.model for new in selected.prices] == ["gpt-one"]


def test_invalid_amount_of_another_model_is_ignored() -> None:
    """Amounts of models that are not selected are not checked."""
    data = ("{" + ENTRY % "-1" + ', "n": {' + (ENTRY % "1e-06").partition("{")[2] + "}").encode()
    assert [new.model for new in read_prices(data, "f", lambda model: model == "n").prices] == ["n"]


def test_duplicate_key_of_another_provider_is_ignored() -> None:
    """LiteLLM's real list has had such keys; those of models that are not selected do not matter either."""
    other = '"x": {"litellm_provider": "other", "mode": 1, "mode": 2}'
    data = ("{" + ", ".join([other, other, ENTRY % "1e-06"]) + "}").encode()
    assert models(data) == ["m"]
    twice = ("{" + ", ".join([ENTRY % "1e-06", ENTRY % "2e-06", ENTRY.replace('"m"', '"n"') % "1e-06"]) + "}").encode()
    assert [new.model for new in read_prices(twice, "f", lambda model: model == "n").prices] == ["n"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "is not valid JSON: "),
        (b'{"a": 1}x', "is not valid JSON: Extra data"),
        (b"{}", "is not LiteLLM's list of prices"),
        (b'{"gpt-6-sol": {"input": 1}}', "is not LiteLLM's list of prices"),
        (b'{"a": {"litellm_provider": "openai"}, "a": 1}', "has the duplicate key 'a'"),
        (b'{"a": 1, "a": {"litellm_provider": "openai"}}', "has the duplicate key 'a'"),
        (b'{"a": {"litellm_provider": "openai", "mode": 1, "mode": 1}}', "has the duplicate key 'mode' in 'a'"),
        (b'{"a": {"litellm_provider": "x", "n": NaN}}', "is not valid JSON: NaN is not a number"),
        (b'{"a": {"litellm_provider": "x", "n": -Infinity}}', "is not valid JSON: -Infinity is not a number"),
        (b'{"a": {"litellm_provider": "x", "n": 1e99999999999999999999}}', "has the number '1e9999"),
        (b'{"a": ' + b"[" * 200_000, "is not valid JSON: it is nested too deeply"),
        (b'{"\\ud800": {"litellm_provider": "x"}}', "has the name '\\ud800' with unprintable characters"),
        (b"[]", "is a JSON array"),
        (("{" + ENTRY % "-1e-06" + "}").encode(), "m, input_cost_per_token: -0.000001 is not between 0 and 1"),
        (("{" + ENTRY % "2.5" + "}").encode(), "m, input_cost_per_token: 2.5 is not between 0 and 1"),
        (("{" + ENTRY % ("1" * 5000) + "}").encode(), "m, input_cost_per_token: 1111"),
        (JSON.decode().encode("utf-16"), "is not UTF-8 text"),
        (CSV + b"\xff", "is not UTF-8 text"),
        (b'model,input,output\n"m,1,2', "is neither JSON nor CSV: "),
        (b"model,input,output\nm,1,2\nm,1,2", "row 3: 'm' has a price of the same date in row 2"),
        (b"model,input,output\n" + b"m" * 200_000 + b",1,2", "is neither JSON nor CSV: field larger"),
        (b"\x89PNG\r\n", "is not UTF-8 text"),
        (b"sk-a-secret", "is not a list of prices: its first line must name columns, of model"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n", "is empty"),
    ],
)
def test_other_file_is_rejected(tmp_path: Path, data: bytes, message: str) -> None:
    """The error is one line that begins with the name of the file."""
    path = tmp_path / "f"
    path.write_bytes(data)
    with pytest.raises(InvalidValue) as caught:
        read_file(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert len(str(caught.value).splitlines()) == 1


def test_file_that_is_too_large_is_rejected(tmp_path: Path) -> None:
    """No more than the limit is read of a sparse file of 50 MB."""
    with (tmp_path / "f").open("wb") as file:
        file.truncate(50_000_000)
    with pytest.raises(InvalidValue, match=f"is larger than {price_files.MAX_FILE} bytes"):
        read_file(tmp_path / "f")


@pytest.mark.parametrize(("name", "message"), [("none", "No such file"), (".", "Is a directory")])
def test_unreadable_file_is_rejected_with_the_reason(tmp_path: Path, name: str, message: str) -> None:
    """The error names what the operating system reports."""
    with pytest.raises(InvalidValue, match=f"cannot be read: {message}"):
        read_file(tmp_path / name)


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: f"model,input,output\n{text}".encode()))
def test_any_file_is_read_or_rejected_in_one_line(data: bytes) -> None:
    """No content raises any other error."""
    lines = ["fine"]
    try:
        read_prices(data, "f")
    except InvalidValue as error:
        lines = str(error).splitlines()
    assert len(lines) == 1
