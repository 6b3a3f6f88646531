"""A page of the console, and the request that its function gets."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec
from tornado.httputil import HTTPFile
from tornado.locale import Locale

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.admins import Role
from chatgpt_agent.admin.ledger import Finding
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.budget.budget_state import Status
from chatgpt_agent.core.errors import InvalidRequest, InvalidValue
from chatgpt_agent.runtime.console_access import ConsoleAccess, SignedIn
from chatgpt_agent.runtime.job import Job
from chatgpt_agent.runtime.own_api import OwnApi
from chatgpt_agent.runtime.page_brake import PageBrake, Work
from chatgpt_agent.web.admin.parameters import to_struct
from chatgpt_agent.web.admin.routing import MAX_BODY, AdminApi
from chatgpt_agent.web.console.formats import Formats
from chatgpt_agent.web.console.forms import CONFIRM, VERSION, changed_fields, read_form, with_offset
from chatgpt_agent.web.console.messages import translated
from chatgpt_agent.web.console.parts import Field, Result

T = TypeVar("T", bound=msgspec.Struct)

PREFIX = "/console"
PAGE_SIZE = 50
MAX_FILE_NAME = 100  # characters that are shown
TIMES = frozenset({"since", "until"})  # parameters


class ConsoleServices(msgspec.Struct, frozen=True, kw_only=True):
    """What the console works with. `time_zone` returns the name of the one of the reports, `own_api` where this
    process reaches its own API, `nearly_spent` the budgets of which so many percent are spent, with their users' ids;
    `verification`: the check of the ledger that an admin has started."""

    api: AdminApi
    access: ConsoleAccess
    page_brake: PageBrake
    time_zone: Callable[[], str]
    own_api: Callable[[], OwnApi]
    nearly_spent: Callable[[int], list[tuple[int, Status]]]
    verification: Job[list[Finding]]


class ConsoleRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a page, or to change something. `query` and `sent` (the fields of a form) have the last of several
    values. `signed_in` is None on pages that are open to all."""

    services: ConsoleServices
    signed_in: SignedIn | None
    path: Mapping[str, str]
    query: Mapping[str, str]
    sent: Mapping[str, str]
    files: Mapping[str, Sequence[HTTPFile]]
    locale: Locale
    formats: Formats
    url: str  # of the page, with its query
    address: str  # of the client
    secret: str | None  # of the session
    origin: str  # scheme and host, as the browser has them
    warnings: list[str] = msgspec.field(default_factory=list)  # shown with the answer

    def _(self, text: str) -> str:
        """Returns a text in the language of the page."""
        return str(self.locale.translate(text))

    def ngettext(self, one: str, several: str, count: int) -> str:
        """Returns the form of a text for this number, in the language of the page."""
        return str(self.locale.translate(one, several, count))

    def message(self, text: str) -> str:
        """Returns a message of a use case, such as an error, in the language of the page."""
        return translated(text, self.locale)

    @property
    def admin(self) -> SignedIn:
        """The admin who is signed in."""
        assert self.signed_in is not None
        return self.signed_in

    @property
    def owner(self) -> str:
        """The owner of its place among pages that wait: the admin, or the address of a stranger."""
        return f"admin {self.signed_in.admin.name}" if self.signed_in else self.address

    async def wait_for_turn(self) -> None:
        """Waits until long work may go on with its next part, whose cost is that of a page."""
        await self.services.page_brake.turn(self.owner, Work.REST)

    @property
    def may_change(self) -> bool:
        """Whether the admin may change something."""
        return self.signed_in is not None and self.signed_in.admin.role == Role.ADMIN

    @property
    def administration(self) -> Administration:
        """The use cases, for the admin of this request."""
        api, admin = self.services.api, self.admin
        actor = Actor(admin.admin.name, Via.CONSOLE, admin.address)
        return Administration(api.config, api.stores, actor, api.authenticator.keyring, warn=self._warn)

    def _warn(self, text: str) -> None:
        self.warnings.append(self.message(text))

    @property
    def zone(self) -> str:
        """The name of the time zone of reports."""
        return self.formats.zone.key

    # Forms.

    def filter(self, kind: type[T]) -> T:
        """Returns the parameters of the address as a struct, as REST reads them. Raises InvalidRequest,
        InvalidValue."""
        struct: T = to_struct(self.exact_query.items(), kind)
        return struct

    @property
    def exact_query(self) -> dict[str, str]:
        """The parameters of the address as REST has them: times, which are in the time zone of reports, with their
        offset."""
        query = {name: text for name, text in self.query.items() if text and name != "csv"}
        return {name: with_offset(text, self.zone) if name in TIMES else text for name, text in query.items()}

    def read(self, fields: Sequence[Field], kind: type[T]) -> T:
        """Returns what was typed into these fields as a struct. Raises InvalidRequest, InvalidValue."""
        for field in fields:
            if field.required and not self.sent.get(field.name, "").strip():
                raise InvalidRequest(self._("Fill this in."), param=field.name)
        struct: T = read_form(list(fields), self.sent, kind, self.zone)
        return struct

    def read_changes(self, fields: Sequence[Field], kind: type[T]) -> T:
        """Returns a struct of the fields that do not have their first value any more. Raises InvalidRequest,
        InvalidValue."""
        return self.read(changed_fields(fields, self.sent, self.zone), kind)

    def file(self, name: str) -> bytes:
        """Returns a file that was sent. Raises InvalidRequest."""
        return self.all_files(name)[-1][1]

    def all_files(self, name: str) -> list[tuple[str, bytes]]:
        """Returns the names and contents of all files of a field. Raises InvalidRequest."""
        files = [(shown_name(file.filename), bytes(file.body)) for file in self.files.get(name, ())]
        if not files or not all(content for _, content in files):
            raise InvalidRequest(self._("Choose a file that is not empty."), param=name)
        return files

    def has_file(self, name: str) -> bool:
        """Whether a file was chosen in a field."""
        return any(file.filename or file.body for file in self.files.get(name, ()))

    def text(self, name: str) -> str:
        """Returns a field that has to be filled in. Raises InvalidRequest."""
        text = self.sent.get(name, "").strip()
        if not text:
            raise InvalidRequest(self._("Fill this in."), param=name)
        return text

    @property
    def version(self) -> int | None:
        """The version of the object that the page showed, so that a change does not undo another admin's."""
        text = self.sent.get(VERSION, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

    def check_confirmed(self, expected: str) -> None:
        """Checks that the name of what is destroyed was typed. Raises InvalidValue."""
        if self.sent.get(CONFIRM, "").strip() != expected:
            raise InvalidValue(
                self._("Type %(name)s to confirm; nothing has been changed.") % {"name": expected}, param=CONFIRM
            )

    # Addresses.

    def with_query(self, **changes: str | None) -> str:
        """Returns the address of this page with other parameters; None removes one."""
        query = {name: value for name, value in {**self.query, "csv": None, **changes}.items() if value}
        page = self.url.partition("?")[0]
        return f"{page}?{urlencode(query)}" if query else page


def shown_name(text: str) -> str:
    """Returns the name of a file that a browser sent, for messages."""
    return "".join(character for character in text if character.isprintable())[:MAX_FILE_NAME] or "file"


def page_url(*names: object, **query: object) -> str:
    """Returns the address of a page of the console, of path segments as they are."""
    path = "/".join((PREFIX, *(quote(str(name), safe="") for name in names)))
    values = {name: str(value) for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(values)}" if values else path


Function = Callable[[ConsoleRequest], Awaitable[Result]]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page, and what its form does.

    `admins_only`: closed to viewers, although it changes nothing. `post`: answers a form; on an error, `get` shows the
    form again with what was typed. `read_only`: `post` changes nothing, so that viewers may send it. `public`: needs no
    sign-in. `max_body`: bytes."""

    path: str
    get: Function | None = None
    post: Function | None = None
    admins_only: bool = False
    read_only: bool = False
    public: bool = False
    max_body: int = MAX_BODY

    def is_for(self, method: str, role: str) -> bool:
        """Whether an admin of this role may use the page in this way."""
        if role == Role.ADMIN:
            return True
        return not self.admins_only and (method != "POST" or self.read_only)
