"""An address for every page of the console, for tests over the table of pages."""

from urllib.parse import quote

from chatgpt_agent.web.console.routes import PAGES
from chatgpt_agent.web.console.routing import Page

# What stands in the place of a parameter, by the first segment of the path.
VALUES = {
    "admins": {"name": "eve"},
    "budgets": {"id": "1"},
    "prices": {"model": "gpt-6-luna"},
    "requests": {"id": "ROW"},
    "tokens": {"id": "1"},
    "users": {"name": "alice"},
}


def address(page: Page, row: str) -> str:
    """Returns the address of a page below /console; `row`: the id of a request."""
    values = VALUES.get(page.path.split("/")[1] if "/" in page.path else "", {})
    path = page.path
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", quote(value.replace("ROW", row), safe=""))
    assert "{" not in path, f"give {page.path} a value in VALUES"
    return path


def pages_to_show() -> list[Page]:
    """Returns the pages that can be looked at."""
    return [page for page in PAGES if page.get is not None]
