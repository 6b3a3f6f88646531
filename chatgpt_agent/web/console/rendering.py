"""Draws pages with Tornado's templates."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from tornado.escape import xhtml_escape
from tornado.web import RequestHandler, UIModule

from chatgpt_agent import __version__
from chatgpt_agent.web.console import cookies, languages
from chatgpt_agent.web.console.aside import give_way
from chatgpt_agent.web.console.assets import ASSETS
from chatgpt_agent.web.console.formats import Formats, plain
from chatgpt_agent.web.console.forms import as_typed
from chatgpt_agent.web.console.parts import (
    Bar,
    Brief,
    Button,
    Buttons,
    Form,
    Kind,
    Link,
    Mark,
    Notice,
    Part,
    Table,
    View,
)
from chatgpt_agent.web.console.routing import PREFIX, ConsoleRequest
from chatgpt_agent.web.console.tables import csv_of

TEMPLATES = Path(__file__).parent / "templates"
THEMES = ("auto", "light", "dark")
NUMERIC = frozenset({Kind.NUMBER, Kind.USD, Kind.EXACT_USD, Kind.PERCENT, Kind.CHANGE, Kind.MILLISECONDS, Kind.BYTES})


class PartModule(UIModule):
    """A part of a page, by its template."""

    def render(self, part: Part, page: dict[str, Any]) -> bytes:
        """Returns the part as HTML."""
        give_way()
        return self.render_string(f"parts/{part.template}", part=part, **page)


class CellModule(UIModule):
    """A value in a table or a list of facts."""

    def render(self, cell: "Cell", shows: Callable[[Button], bool]) -> bytes | str:
        """Returns the cell as HTML; most are plain text, for which a template takes ten times as long."""
        give_way()
        if cell.shape == "plain" and not cell.href:
            text = xhtml_escape(cell.text)
            return text if cell.exact in ("", cell.text) else f'<span title="{xhtml_escape(cell.exact)}">{text}</span>'
        return self.render_string("parts/cell.html", cell=cell, shows=shows)


SETTINGS: dict[str, Any] = {  # of the application
    "template_path": str(TEMPLATES),
    "ui_modules": {"Part": PartModule, "Cell": CellModule},
    "xsrf_cookie_name": cookies.XSRF,
    "xsrf_cookie_kwargs": cookies.ATTRIBUTES,
}


def navigation(request: ConsoleRequest) -> list[tuple[str, str, str]]:
    """Returns section, address and title of each page in the navigation."""
    _ = request._
    return [
        ("overview", PREFIX, _("Overview")),
        ("users", f"{PREFIX}/users", _("Users")),
        ("requests", f"{PREFIX}/requests", _("Requests")),
        ("budgets", f"{PREFIX}/budgets", _("Budgets")),
        ("prices", f"{PREFIX}/prices", _("Prices")),
        ("books", f"{PREFIX}/books", _("Books")),
        ("audit", f"{PREFIX}/audit", _("Audit")),
        ("system", f"{PREFIX}/system", _("System")),
    ]


def can_see(part: Part, request: ConsoleRequest) -> bool:
    """Whether a part is shown to the admin of this request: viewers see no forms that change something."""
    if isinstance(part, Form):
        return part.get or part.for_viewers or request.may_change or request.signed_in is None
    if isinstance(part, Buttons):
        return any(shows(button, request) for button in part.buttons)
    return True


def shows(button: Button, request: ConsoleRequest) -> bool:
    """Whether a button is shown to the admin of this request."""
    return button.for_viewers or request.may_change


def render(handler: RequestHandler, request: ConsoleRequest, view: View, notice: Notice | None) -> bytes:
    """Returns a page as HTML."""
    theme = handler.get_cookie(cookies.THEME) or "auto"
    return handler.render_string(
        "page.html",
        view=view,
        request=request,
        notice=notice,
        sections=navigation(request),
        asset=ASSETS.url,
        language=languages.HTML_LANGUAGES[request.locale.code],
        languages=languages.LANGUAGES,
        theme=theme if theme in THEMES else "auto",
        themes=THEMES,
        version=__version__,
        page=part_values(
            request.formats,
            shows=lambda button: shows(button, request),
            csv_url=lambda table: table.file or _csv_url(handler, request, table),
        ),
    )


def part_values(
    formats: Formats, *, shows: Callable[[Button], bool], csv_url: Callable[[Table], str]
) -> dict[str, Any]:
    """Returns what the templates of parts need. `shows`: whether the reader of the page sees a button."""
    return {
        "shows": shows,
        "cell": lambda value, kind: cell(value, kind, formats),
        "is_numeric": NUMERIC.__contains__,
        "as_typed": lambda field: as_typed(field, formats.zone.key),
        "chart_unit": chart_unit,
        "data_url": data_url,
        "csv_url": csv_url,
    }


def chart_unit(table: Table) -> Kind:
    """Returns the kind of the values that a table's chart shows."""
    assert table.chart is not None
    return next(column.kind for column in table.columns if column.name == table.chart.values[0])


def data_url(csv: str) -> str:
    """Returns an address that is the file itself."""
    return f"data:text/csv;charset=utf-8,{quote(csv)}"


def _csv_url(handler: RequestHandler, request: ConsoleRequest, table: Table) -> str:
    """The address of a table as CSV. The answer to a form has no address, so its tables are in the page itself."""
    if handler.request.method == "POST":
        return data_url(csv_of(table))
    return request.with_query(csv=table.name)


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A cell as its template draws it."""

    text: str
    exact: str  # for script and for a tooltip
    href: str = ""
    level: str = ""  # of a Mark or Bar
    share: float | None = None  # of a Bar: 0 to 1
    shape: str = "plain"  # plain, link, mark, bar, buttons, list, time, code
    buttons: list[Button] = []
    cells: list["Cell"] = []  # of a list


def cell(value: Any, kind: Kind, formats: Formats) -> Cell:
    """Returns a value of a table or a list of facts for its template."""
    match value:
        case Button():
            return Cell(text="", exact="", shape="buttons", buttons=[value])
        case list() if value and all(isinstance(each, Button) for each in value):
            return Cell(text="", exact="", shape="buttons", buttons=value)
        case list():
            cells = [cell(each, kind, formats) for each in value]
            return Cell(text=", ".join(each.text for each in cells), exact=str(plain(value)), shape="list", cells=cells)
        case Brief():
            return Cell(text=value.value, exact=value.exact)
        case Link():
            inner = cell(value.value, kind, formats)
            return msgspec.structs.replace(inner, href=value.href)
        case Mark():
            text = value.value if isinstance(value.value, str) else formats.value(value.value, kind)
            return Cell(text=text, exact=str(plain(value)), level=value.level, shape="mark")
        case Bar():
            share = float(value.value / value.of) if value.of else 0.0
            text = formats.value(value.value, kind)
            return Cell(
                text=text, exact=str(plain(value)), level=value.level, share=min(max(share, 0.0), 1.0), shape="bar"
            )
        case str() if kind is not Kind.CODE:  # in a column of numbers or times, such as "In all" below it
            return Cell(text=value, exact=value)
    shape = kind.value if kind in (Kind.TIME, Kind.CODE) and value is not None else "plain"
    return Cell(text=formats.value(value, kind), exact=str(plain(value)), shape=shape)
