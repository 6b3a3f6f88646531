"""Messages of use cases in Chinese: every template is matched by what is made of it, and pages have no English left."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from chatgpt_agent.core.access.settings import UserChanges
from chatgpt_agent.web.console.messages import PLACEHOLDER, Messages, Template, messages_of
from tests.support.console import ConsoleClient, PageAnswer
from tests.support.console_pages import address, pages_to_show
from tests.web.console.test_books import costs

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.shared_agent

# What stays as it is: addresses, commands and options, keys of configuration, values in quotes, names of fields.
_DATA = re.compile(r"'[^']*'|\"[^\"]*\"|\bchatgpt-agent [\w-]+( [\w-]+)*|--[\w-]+ [\w-]+|\S*[/_=@.]\S*")
_ENGLISH = re.compile(r"[A-Za-z]{2,} [a-z]{2,}")


def english_in(text: str) -> list[str]:
    """Two or more English words in a row that are no data."""
    return [match[0] for match in _ENGLISH.finditer(_DATA.sub("·", text))]


def chinese() -> Messages:
    """The messages in Chinese."""
    messages = messages_of("zh")
    assert messages is not None
    return messages


def _example(template: Template) -> tuple[str, str]:
    """A message of a template, and its translation: a number in brackets or quotes for each placeholder."""
    parts: dict[str, str] = {}
    for number, (name, form) in enumerate(PLACEHOLDER.findall(template.text)):
        parts[name] = f"'v{number}'" if form == "r" else f"<{number}>"
    return PLACEHOLDER.sub(lambda match: parts[match[1]], template.text), template.filled(parts)


def test_every_template_is_matched_by_its_own_messages() -> None:
    """No template shadows another one with a different meaning."""
    messages = chinese()
    examples = [_example(template) for template in messages.templates if not template.is_frame]
    assert [(text, messages.translate(text)) for text, _ in examples] == examples


@pytest.mark.parametrize(
    ("message", "translation"),
    [
        ("line 3: name: ' x' must have 1 to 60 printable characters, no space at the ends",
         "第 3 行：name：' x' 必须是 1 到 60 个可打印字符，首尾不能有空格"),
        ("rpm: 0 is not a whole number from 1 to 9, or null", "rpm：0 不是整数，允许 1 到 9，或 null"),
        ("there is no user 'bob'; did you mean 'Bob'?", "没有用户 'bob'；是否指 'Bob'？"),
        ("user 'a' has no budget for the period day: set one first", "用户 'a' 没有周期为 day 的预算：请先设置"),
        ("prices.csv: row 3: 'gpt: x' has a price of the same date in row 2",
         "prices.csv：第 3 行：'gpt: x' 在第 2 行已有同一天的价格"),
        ("since: 'x' is not in the years 2000 to 9998 (UTC)", "since：'x' 不在 2000 年至 9998 年（UTC）之内"),
    ],
)  # fmt: skip
def test_parts_of_a_message_are_translated(message: str, translation: str) -> None:
    """A message may have another one within; what is in quotes is data."""
    assert chinese().translate(message) == translation


@pytest.mark.parametrize("text", ["", "foo: bar", "ERROR: relation does not exist", "模型 'x' 没有价格", "x" * 9000])
def test_other_texts_stay_as_they_are(text: str) -> None:
    """Such as PostgreSQL's own, and what is in Chinese already."""
    assert chinese().translate(text) == text


def test_english_has_no_catalogue() -> None:
    """Nothing is read for pages in English."""
    assert messages_of("en_US") is None


@pytest.fixture
def reader(admin: ConsoleClient) -> ConsoleClient:
    """The browser of an admin who reads Chinese."""
    admin.headers["Accept-Language"] = "zh-CN"
    return admin


async def test_name_that_is_taken(reader: ConsoleClient) -> None:
    """The error stands at the head of the form."""
    page = await reader.submit("/new-user", "new", name="alice", openai_key="sk-made-up-key")
    assert page.status == 409
    assert "用户 'alice' 已存在" in page.text
    assert english_in(page.text) == []


async def test_wrong_field(reader: ConsoleClient) -> None:
    """The error stands at its field, without the field's name in front."""
    page = await reader.submit("/new-user", "new", name="'bob'", openai_key="sk-made-up-key")
    assert page.status == 422
    assert "\"'bob'\" 带有引号：请去掉引号" in page.text
    assert "name：" not in page.text
    assert english_in(page.text) == []


async def test_wrong_amount(reader: ConsoleClient) -> None:
    """The rule is that of REST, with its example."""
    page = await reader.submit("/budgets", "new", user="alice", amount="much")
    assert page.status == 400
    assert '"much" 不符合要求：文本形式的美元数，最多 10 位小数，例如 "12.50"' in page.text
    assert english_in(page.text) == []


async def test_unknown_user(reader: ConsoleClient) -> None:
    """With the name that is probably meant."""
    page = await reader.get("/users/alicia")
    assert page.status == 404
    assert "没有用户 'alicia'" in page.text
    assert english_in(page.text) == []


async def test_lines_of_a_file_with_errors(reader: ConsoleClient) -> None:
    """Each line has its own."""
    file = b"name,openai_key,budget\nann,sk-made-up-key,much\nalice,sk-made-up-key,\nbob,,5\n"
    page = await reader.send_file("/user-import", "import", "file", file)
    assert page.status == 422
    assert [row[3] for row in page.rows("lines")] == [
        "budget：请填美元数，例如 50 或 12.50",
        "用户 'alice' 已存在",
        "OpenAI 密钥必须是 1 到 512 个不含空格的可打印 ASCII 字符",
    ]
    assert english_in(page.text) == []


async def test_warning_after_an_action(reader: ConsoleClient) -> None:
    """A name that looks like another one."""
    page = await reader.submit("/new-user", "new", name="Alice", openai_key="sk-made-up-key")
    assert "名称 'Alice' 与另一个用户 'alice' 的名称看起来一样" in page.text


async def test_stale_version(reader: ConsoleClient) -> None:
    """By REST it is a message of the use case; the page has its own, which says what becomes of what was typed."""
    form = (await reader.get("/users/alice/change")).form("settings")
    await reader.agent.administration.users.change("alice", UserChanges(comment="meanwhile"))
    page = await reader.send("/users/alice/change", {**form, "comment": "mine"})
    assert (page.status, "另一位管理员在此期间改过它" in page.text) == (412, True)
    assert english_in(page.text) == []


async def test_wrong_file_of_prices(reader: ConsoleClient) -> None:
    """The place in the file is a part of the message."""
    file = b"model,input,output\ngpt-6-luna,1,2\ngpt-6-sol,much,2\n"
    page = await reader.send_file("/price-import", "import", "file", file)
    assert page.status == 422
    assert "第 3 行：input：'much' 不是数字；请填每 100 万词元的美元数，例如 2.50" in page.text
    assert english_in(page.text.replace("eu us", "")) == []


async def test_sentences_of_a_reconciliation(reader: ConsoleClient) -> None:
    """They are put together in Chinese, with commas and colons of the language."""
    page = await reader.send_file("/books/compare", "compare", "files", costs(0.5), key="key_alice=alice")
    [row] = page.rows("differences")
    assert row[0].startswith("gpt-6-luna：0.50 美元，用户 alice，")
    assert row[0].endswith("：账本中没有")
    assert english_in(page.text) == []


async def test_audit_log(reader: ConsoleClient) -> None:
    """Interfaces, actions and objects have names; columns are those of the database."""
    await reader.submit("/users/alice/change", "settings", comment="new")
    assert (await reader.get("/audit")).rows("changes")[0][2:6:2] == ["控制台", "修改"]
    page = await reader.get("/audit?object=users")
    assert {row[5] for row in page.rows("changes")} == {"用户"}


async def test_every_page_is_in_chinese(reader: ConsoleClient) -> None:
    """What is left in English is data: names of tables and regions, commands."""
    await reader.agent.chat()
    [row] = await reader.agent.rows(1)
    left = {}
    for page in pages_to_show():
        answer = await reader.fetch("GET", address(page, str(row["request_id"])))
        if answer.header("Content-Type") == "text/html; charset=utf-8" and page.path != "/system":
            text = (
                PageAnswer(answer).text.replace("eu us", "").replace("admin token NAME", "").replace("admin token", "")
            )
            left[page.path] = english_in(text)
    assert {path: texts for path, texts in left.items() if texts} == {}


def test_templates_follow_what_a_message_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both branches of a condition, a name, a constant, and what a function returns."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    source = """
A_DAY = "a day such as 2026-11-23"

class Wrong(InvalidValue): ...

def hint(name):
    return f"; did you mean {name!r}?" if name else ""

def check(field, rows):
    text = f"{len(rows)} rows" if rows else "no rows"
    raise Wrong(f"{field}: {text!r} is not {A_DAY}, {text}" + hint(field))
"""
    tree = ast.parse(f"class AgentError: ...\nclass InvalidValue(AgentError): ...\n{source}")
    texts = importlib.import_module("message_sources").texts_of({ROOT: tree})
    assert texts == {
        "%(field)s: %(text)r is not %(a_day)s, %(text2)s",
        "%(rows)s rows",
        "no rows",
        "a day such as 2026-11-23",
        "; did you mean %(name)r?",
    }


def test_constants_of_the_same_name_in_two_modules_are_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each module raises its own."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    errors = "class AgentError: ...\nclass Wrong(AgentError): ...\n"
    raising = "def check(): raise Wrong(REASON)\ndef look_up(kind): raise Wrong(REASONS[kind])\n"
    trees = {
        ROOT / name: ast.parse(f'{errors}REASON = "{name} text"\nREASONS = {{1: "{name} in a table"}}\n{raising}')
        for name in ("one", "other")
    }
    texts = importlib.import_module("message_sources").texts_of(trees)
    assert texts == {"one text", "other text", "one in a table", "other in a table"}
