"""Files of users and of OpenAI keys."""

from urllib.parse import unquote

import pytest

from tests.support.canaries import SECRETS
from tests.support.console import ConsoleClient

pytestmark = pytest.mark.shared_agent

FILE = b"""name,openai_key,comment,budget
bob,sk-made-up-key-of-bob,Sales,20
"M\xc3\xbcller, Anna",sk-made-up-key-of-anna,,
"""


async def names(admin: ConsoleClient) -> list[str]:
    """All users."""
    return [user.name for user in await admin.agent.administration.users.list()]


async def test_users_are_added_with_tokens_and_budgets(admin: ConsoleClient) -> None:
    """The tokens are shown once, as text to print and as a file in the page."""
    page = await admin.send_file("/user-import", "import", "file", FILE)
    assert "2 users have been added." in page.text
    section = page.root.one("section", class_="secret")
    lines = section.one("code").text.split()
    [link] = section.all("a", download="tokens.csv")
    file = unquote(link.attributes["href"].removeprefix("data:text/csv;charset=utf-8,"))
    assert file.splitlines()[0] == "name,token"
    token = file.splitlines()[1].split(",")[1]
    SECRETS.add(token)
    assert lines[1] == f"bob,{token}"
    await admin.agent.until(lambda: admin.agent.works(token))
    [budget] = await admin.agent.administration.budgets.list(user="bob")
    assert budget.amount == 20
    assert token not in (await admin.get("/users")).html


async def test_error_in_a_line_adds_no_user(admin: ConsoleClient) -> None:
    """Every line with an error is listed with its number, without a key."""
    page = await admin.send_file("/user-import", "import", "file", FILE + b"alice,sk-made-up-key-3,,\nemil,,,many\n")
    assert (page.status, "2 lines have an error, so no user was added." in page.text) == (422, True)
    rows = page.rows("lines")
    assert [row[:3] for row in rows] == [
        ["4", "alice", "error"],
        ["5", "emil", "error"],
        ["2", "bob", "not added"],
        ["3", "Müller, Anna", "not added"],
    ]
    assert rows[0][3] == "user 'alice' already exists"
    assert "sk-made-up" not in page.html
    assert await names(admin) == ["alice"]


async def test_lines_of_an_import_are_a_file(admin: ConsoleClient) -> None:
    """It is in the page, since the answer to a form has no address."""
    page = await admin.send_file("/user-import", "import", "file", b"name,openai_key\nalice,sk-made-up-key-3\n")
    [link] = page.root.all("a", download="lines.csv")
    assert "alice" in unquote(link.attributes["href"])


async def test_existing_users_can_be_skipped(admin: ConsoleClient) -> None:
    """The others are added."""
    file = FILE + b"alice,sk-made-up-key-3,,\n"
    page = await admin.send_file("/user-import", "import", "file", file, skip_existing="true")
    assert "2 users have been added. 1 exists already." in page.text
    assert [row[1:3] for row in page.rows("lines")][-1] == ["alice", "skipped"]


async def test_file_can_be_checked_first(admin: ConsoleClient) -> None:
    """No user is added, and the form is there for the next step."""
    page = await admin.send_file("/user-import", "import", "file", FILE, dry_run="true")
    assert "2 users would be added." in page.text
    assert page.form("import")
    assert await names(admin) == ["alice"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (b"", "Choose a file that is not empty."),
        (b"\xff\xfe", "line 1: is not UTF-8 text"),
        (b"name,password\n", "line 1: unknown column password"),
    ],
)
async def test_unreadable_file_is_refused(admin: ConsoleClient, file: bytes, text: str) -> None:
    """The form says why."""
    page = await admin.send_file("/user-import", "import", "file", file)
    assert page.status in (400, 422)
    assert text in page.root.one("form", id="import").text


async def test_hostile_names_are_text(admin: ConsoleClient) -> None:
    """In the result of an import, too."""
    file = b"name,openai_key\n<script>alert(1)</script>,sk-made-up-key-3\nalice,sk-made-up-key-4\n"
    page = await admin.send_file("/user-import", "import", "file", file)
    assert "<script>alert" not in page.html
    assert page.rows("lines")[1][1] == "<script>alert(1)</script>"


async def test_keys_are_replaced(admin: ConsoleClient) -> None:
    """The audit log has each change, without the key."""
    page = await admin.send_file("/key-import", "import", "file", b"name;openai_key\nalice;sk-made-up-key-new\n")
    assert page.notice == "The OpenAI key of 1 user has been replaced."
    assert (await admin.get("/audit")).rows("changes")[0][4:6] == ["update", "users"]


async def test_error_in_a_line_replaces_no_key(admin: ConsoleClient) -> None:
    """It names the line, and no key."""
    file = b"name,openai_key\nalice,sk-made-up-key-new\nemil,sk-made-up-key-5 x\n"
    page = await admin.send_file("/key-import", "import", "file", file)
    assert page.status == 422
    assert page.root.one("p", role="alert").text.startswith("line 3: ")
    assert "sk-made-up" not in page.html


async def test_key_of_an_unknown_user_is_refused(admin: ConsoleClient) -> None:
    """No key is replaced."""
    page = await admin.send_file("/key-import", "import", "file", b"name,openai_key\nalcie,sk-made-up-key-new\n")
    assert (page.status, "did you mean 'alice'?" in page.text) == (404, True)


async def test_viewer_imports_nothing(viewer: ConsoleClient) -> None:
    """The pages are closed."""
    assert [(await viewer.get(path)).status for path in ("/user-import", "/key-import")] == [403, 403]
