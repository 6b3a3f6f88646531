"""docs/tables.md has every table and column of the database.

After a migration, write the new columns into the page, and then what they mean:

    UPDATE_TABLES=1 .venv/bin/python -m pytest tests/test_tables_page.py
"""

import os
from pathlib import Path

from tests.support.tables_page import HEAD, columns, current, without_meaning

PAGE = Path(__file__).parent.parent / "docs/tables.md"


def test_tables_of_the_database_are_documented(dsn: str) -> None:
    """The page has the tables and columns of the newest schema, with their types, and no other."""
    text = PAGE.read_text("utf-8")
    expected = current(text, columns(dsn))
    if os.environ.get("UPDATE_TABLES"):
        PAGE.write_text(expected, "utf-8")
        text = expected
    assert text == expected


def test_every_column_is_explained() -> None:
    """Each column has a meaning."""
    assert list(without_meaning(PAGE.read_text("utf-8"))) == []


def test_change_of_a_table_is_noticed() -> None:
    """A new column and a new table appear without a meaning; what was removed disappears; meanings stay."""
    page = f"# T\n\n## a\n\nText.\n\n{HEAD}| `x` | text | One. |\n| `y` | text | Two. |\n"
    text = current(page, {"a": [("x", "bigint"), ("z", "text")], "b": [("v", "text")]})
    assert "| `x` | bigint | One. |\n| `z` | text |  |\n" in text
    assert ("`y`" in text, list(without_meaning(text))) == (False, ["z", "v"])
