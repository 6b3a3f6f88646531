"""What pages are made of: tables, figures, forms, facts. A page function returns these; templates draw them, and the
same table is written as CSV. Values are plain Python: the column or figure says what kind they are of."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, TypeAlias

import msgspec


class Kind(StrEnum):
    """How a value is shown."""

    TEXT = "text"
    NUMBER = "number"
    USD = "usd"  # a Decimal, or None: not known
    EXACT_USD = "exact_usd"  # all of its digits
    PERCENT = "percent"  # a fraction: 0.8 is 80 %
    CHANGE = "change"  # the same with its sign: +80 %
    MILLISECONDS = "milliseconds"
    BYTES = "bytes"
    TIME = "time"  # a datetime
    DAY = "day"  # a date
    CODE = "code"  # an id, with a button that copies it
    FLAG = "flag"


class Link(msgspec.Struct, frozen=True):
    """A value that leads to another page of the console, or to a file."""

    value: Any
    href: str


class Bar(msgspec.Struct, frozen=True):
    """A value as a part of a whole, drawn as a bar. `level`: good, warning or bad."""

    value: Any
    of: Any
    level: str = "good"


class Mark(msgspec.Struct, frozen=True):
    """A short word that stands out, such as a state, or a value of the column. `level`: plain, good, warning or bad."""

    value: Any
    level: str = "plain"


class Brief(msgspec.Struct, frozen=True):
    """A short text for a long one, which a tooltip and CSV have."""

    value: str
    exact: str


class Button(msgspec.Struct, frozen=True):
    """A link that begins an action, or, with `fields`, a form of hidden fields that is sent at once: for what can be
    undone. It is not shown to viewers, unless `for_viewers` is set."""

    label: str
    href: str
    danger: bool = False
    for_viewers: bool = False
    fields: Mapping[str, str] | None = None


class Column(msgspec.Struct, frozen=True):
    """A column of a table. `sort`: the address that sorts the table by it."""

    name: str  # in CSV
    title: str
    kind: Kind = Kind.TEXT
    sort: str | None = None


class Chart(msgspec.Struct, frozen=True):
    """How script draws a table: by `label`, the name of a column, one line or bar for each column in `values`; or one
    for each value of the column `group`, of which `values` has one column. `kind`: bars, stacked or lines."""

    kind: str
    label: str
    values: Sequence[str]
    group: str | None = None


class Also(msgspec.Struct, frozen=True):
    """The command and the REST request that do the same."""

    command: str | None = None
    rest: str | None = None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a page."""

    template: ClassVar[str]


class Table(Part, frozen=True, kw_only=True):
    """Rows under columns. A cell is a value of the column's kind, None for what is not known, or a Link, Bar, Mark,
    Brief or Button (or a list of these). `total`: a last row. `empty`: what is shown instead of no rows. `next`: the
    address of the next page; `more`: a link to a page that lists all. `file`: the address of the whole table as CSV,
    where it is longer than this page."""

    template = "table.html"
    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    total: Sequence[Any] | None = None
    empty: str = ""
    empty_button: Button | None = None
    chart: Chart | None = None
    next: str | None = None
    more: Link | None = None
    note: str = ""
    file: str | None = None
    also: Also | None = None


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number. `before`: the same of an earlier span, with its name in `before_label`."""

    label: str
    value: Any
    kind: Kind = Kind.NUMBER
    note: str = ""
    before: Any = None
    before_label: str = ""
    level: str = "plain"
    href: str | None = None


class Figures(Part, frozen=True, kw_only=True):
    """A row of numbers."""

    template = "figures.html"
    title: str = ""
    figures: Sequence[Figure]
    also: Also | None = None


class Fact(msgspec.Struct, frozen=True):
    """A name and its value, a cell as in tables."""

    label: str
    value: Any
    kind: Kind = Kind.TEXT


class Facts(Part, frozen=True, kw_only=True):
    """A list of names and values."""

    template = "facts.html"
    title: str = ""
    facts: Sequence[Fact]
    buttons: Sequence[Button] = ()
    also: Also | None = None


class Message(Part, frozen=True, kw_only=True):
    """A few sentences that matter. `level`: plain, good, warning or bad."""

    template = "message.html"
    title: str = ""
    text: str = ""
    items: Sequence[Any] = ()  # of a list: texts or Links
    level: str = "plain"
    button: Button | None = None


class Code(Part, frozen=True, kw_only=True):
    """Something to copy: a token, a command, a file. `secret`: it is shown only now. `file`: the name under which a
    browser saves it."""

    template = "code.html"
    title: str = ""
    text: str
    note: str = ""
    secret: bool = False
    file: str | None = None


class Buttons(Part, frozen=True, kw_only=True):
    """Links to actions on what the page shows."""

    template = "buttons.html"
    buttons: Sequence[Button]


class Input(StrEnum):
    """What a field of a form takes."""

    TEXT = "text"
    LONG_TEXT = "long_text"
    LINES = "lines"  # a list, one item a line
    SECRET = "secret"  # noqa: S105 - is never filled in again
    NEW_PASSWORD = "new_password"  # noqa: S105
    NUMBER = "number"
    USD = "usd"
    DAY = "day"
    TIME = "time"  # to the minute, in the time zone of the form
    CHOICE = "choice"
    FLAG = "flag"
    FILE = "file"
    HIDDEN = "hidden"


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a form. `value`: what is in it at first. `empty_is_none`: an empty field is None for the use case,
    such as no limit; else it is left out. `choices`: values and their labels. `several`: it takes several files.
    `advanced`: folded away with the others of its form, below the form's `more`."""

    name: str
    label: str = ""
    input: Input = Input.TEXT
    value: Any = None
    hint: str = ""
    required: bool = False
    empty_is_none: bool = False
    choices: Mapping[str, str] = msgspec.field(default_factory=dict)
    suggestions: Sequence[str] = ()
    autocomplete: str = "off"
    several: bool = False
    advanced: bool = False


class Form(Part, frozen=True, kw_only=True):
    """A form. `get`: it filters what the page shows, and changes nothing. `name` tells the forms of a page apart. A
    danger asks for `confirm`, a text that is to be typed. Forms that change something are not shown to viewers.
    `effects`: sentences on what will happen."""

    template = "form.html"
    name: str
    action: str
    fields: Sequence[Field]
    submit: str
    title: str = ""
    get: bool = False
    for_viewers: bool = False
    danger: bool = False
    confirm: str | None = None
    effects: Sequence[str] = ()
    folded: bool = False  # opened by a click
    more: str = ""  # above the advanced fields
    cancel: str | None = None  # address
    also: Also | None = None
    errors: Mapping[str, str] = msgspec.field(default_factory=dict)  # by field; "" for the form

    @property
    def shows_more(self) -> bool:
        """Whether an advanced field has a value or an error, so that they are not folded."""
        return any(field.advanced and (field.value or field.name in self.errors) for field in self.fields)

    @property
    def has_file(self) -> bool:
        """Whether it has to be sent as multipart/form-data."""
        return any(field.input == Input.FILE for field in self.fields)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A page. `section`: the entry of the navigation; `up`: the page above it; `reload`: seconds after which browsers
    ask for it again."""

    title: str
    parts: Sequence[Part]
    section: str = ""
    up: Link | None = None
    subtitle: str = ""
    status: int = 200
    bare: bool = False  # without navigation, before the sign-in
    session: str | None = None  # as of a Redirect
    reload: int | None = None


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What an action has done. `undo`: the address of the action that reverts it, with the fields of its form. The
    warnings of the request are added."""

    text: str
    level: str = "good"
    warnings: Sequence[str] = ()
    undo: str | None = None
    undo_fields: Mapping[str, str] = msgspec.field(default_factory=dict)


class Redirect(msgspec.Struct, frozen=True, kw_only=True):
    """The page to show after an action (303). `session`: the secret of a new session, "" ends the present one.
    `preferences`: cookies that are set."""

    href: str
    notice: Notice | None = None
    session: str | None = None
    preferences: Mapping[str, str] = msgspec.field(default_factory=dict)


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """A file."""

    name: str
    content: bytes
    media_type: str = "text/csv; charset=utf-8"


Result: TypeAlias = View | Redirect | Download
