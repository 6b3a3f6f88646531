"""`/me/page`: the page of a token. The token comes in a form and is not kept: there is no session and no cookie, so a
page of another site can do nothing in its user's name."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
from tornado.httputil import HTTPHeaders
from tornado.locale import Locale

from chatgpt_agent import __version__
from chatgpt_agent.admin.own_token import OwnToken
from chatgpt_agent.core.access.identity import Identity
from chatgpt_agent.core.errors import AgentError, Draining, InvalidApiKey, InvalidRequest
from chatgpt_agent.runtime.account_limiter import AccountLimiter
from chatgpt_agent.runtime.authentication import Authenticator
from chatgpt_agent.runtime.lifecycle import Lifecycle
from chatgpt_agent.runtime.memory import Memory
from chatgpt_agent.web import me_view
from chatgpt_agent.web.account_reader import AccountReader
from chatgpt_agent.web.admin.handler import public_error
from chatgpt_agent.web.admin.tokens import Rotation
from chatgpt_agent.web.body import BodyHandler
from chatgpt_agent.web.console import languages
from chatgpt_agent.web.console.aside import aside
from chatgpt_agent.web.console.assets import FOLDER, Assets
from chatgpt_agent.web.console.errors import error_text, error_title
from chatgpt_agent.web.console.form_body import form_texts, parse_form
from chatgpt_agent.web.console.formats import Formats
from chatgpt_agent.web.console.forms import FORM, fill, read_form
from chatgpt_agent.web.console.headers import PAGE_HEADERS
from chatgpt_agent.web.console.parts import Field, Form, Input, Message, View
from chatgpt_agent.web.console.recipes import base_url
from chatgpt_agent.web.console.rendering import data_url, part_values
from chatgpt_agent.web.console.tables import csv_of
from chatgpt_agent.web.errors import page_fields
from chatgpt_agent.web.me_view import OwnRequest

PATH = "/me/page"
ASSETS = Assets(FOLDER, "/me/static")
MAX_BODY = 8 * 1024  # bytes of a form


class OwnPageServices(msgspec.Struct, frozen=True, kw_only=True):
    """What the page works with. `public_url` returns the one of the API, or None: as the request reached it."""

    authenticator: Authenticator
    account_limiter: AccountLimiter
    reader: AccountReader
    own_token: OwnToken
    lifecycle: Lifecycle
    memory: Memory
    public_url: Callable[[], str | None]


class FormToken:
    """The header fields of a request, with the token of its form as if it were in `Authorization`."""

    def __init__(self, headers: HTTPHeaders, token: str) -> None:
        self._headers = headers
        self._token = token

    def get_list(self, name: str) -> list[str]:
        """The values of all fields of this name."""
        return [f"Bearer {self._token}"] if name == "Authorization" else self._headers.get_list(name)


class OwnPageHandler(BodyHandler):
    """Answers with the page, and does what its forms say."""

    methods = ("GET", "HEAD", "POST")

    def initialize(self, services: OwnPageServices) -> None:
        self._services = services

    def clear(self) -> None:
        super().clear()
        for name, value in PAGE_HEADERS:
            self.set_header(name, value)

    def check(self) -> None:
        if self.request.method == "POST":
            if self._services.lifecycle.draining:
                raise Draining
            self.max_body_size = MAX_BODY
            self.reserve_body(self._services.memory.share("page of a token"))

    async def get(self) -> None:
        """Shows the form."""
        request = self._own_request({})
        await self._write(request, me_view.entry_view(request))

    head = get

    async def post(self) -> None:
        """Shows the account of the token, or rotates it."""
        with self._services.lifecycle:
            request = self._own_request({})
            try:
                request = self._own_request(form_texts(parse_form(self.request.headers, self.take_body())[0]))
                await self._write(request, await self._answer(request))
            except AgentError as error:
                await self._write_failure(request, error)

    async def _answer(self, request: OwnRequest) -> View:
        identity = self._identify(request)
        if request.sent.get(FORM) == me_view.ROTATE:
            return await self._rotate(request, identity)
        self._services.account_limiter.count(identity.token.id)
        reader, days, scope = self._services.reader, request.days, request.scope
        return me_view.account_view(
            request,
            await reader.account(identity),
            await reader.usage(identity, ["day", "model"], days=days, scope=scope),
            await reader.usage(identity, ["model"], days=days, scope=scope),
        )

    def _identify(self, request: OwnRequest) -> Identity:
        token = request.sent.get("token", "").strip()
        if not token:
            raise InvalidRequest(request._("Fill this in."), param="token")
        identity = self._services.authenticator.identify(FormToken(self.request.headers, token), self.request.remote_ip)
        self.access.user, self.access.token_id = identity.user.name, identity.token.id
        return identity

    async def _rotate(self, request: OwnRequest, identity: Identity) -> View:
        fields = [Field(name="grace_seconds", input=Input.NUMBER)]
        rotation: Rotation = read_form(fields, request.sent, Rotation, request.formats.zone.key)
        address = str(self._services.authenticator.client_address(self.request.headers, self.request.remote_ip))
        grace = timedelta(seconds=rotation.grace_seconds)
        return me_view.rotated_view(request, await self._services.own_token.rotate(identity, address, grace=grace))

    # The answer.

    def _own_request(self, sent: dict[str, str]) -> OwnRequest:
        chosen = self._chosen_language()
        return OwnRequest(
            locale=self.locale,
            formats=Formats(self.locale.code, self._services.reader.time_zone),
            sent=sent,
            url=PATH if chosen is None else f"{PATH}?language={chosen.code}",
            api=self._api_url(),
        )

    def _api_url(self) -> str:
        """The base URL for clients: by `public_url`, else as this request reached us."""
        if (public := self._services.public_url()) is not None:
            return base_url(public)
        scheme = self.request.protocol
        if self._services.authenticator.is_proxy(self.request.remote_ip):
            secure = self.request.headers.get("X-Forwarded-Proto", "").lower() == "https"
            scheme = "https" if secure else scheme
        return base_url(f"{scheme}://{self.request.host}")

    async def _write_failure(self, request: OwnRequest, error: AgentError) -> None:
        """Shows the form again, with the error and with what was typed, but for the token."""
        param, text = error.param or "", error.message
        if isinstance(error, InvalidApiKey):
            param, text = (
                "token",
                request._(
                    "This token is not valid here: it may be mistyped, expired or revoked, or your network is not "
                    "allowed. Your administrator can issue another one."
                ),
            )
        else:
            error = public_error(error)
            text = error_text(request, error)
        self._set_error(error)
        view = me_view.entry_view(request)
        failed = request.sent.get(FORM, me_view.SHOW)
        parts = [
            fill(part, {**request.sent, FORM: failed}, (param, text)) if isinstance(part, Form) else part
            for part in view.parts
        ]
        await self._write(request, msgspec.structs.replace(view, parts=parts, status=error.status))

    def write_agent_error(self, error: AgentError) -> None:
        """Sets a page with an error as the answer."""
        self.clear()
        self._set_error(error)
        request = self._own_request({})
        message = Message(text=error_text(request, error), level="bad")
        view = View(title=error_title(request, error), parts=[message], status=error.status, bare=True)
        self.set_status(view.status)
        self.write(self._render(request, view))

    def _set_error(self, error: AgentError) -> None:
        self.access.fail(error)
        for name, value in page_fields(error, self.methods):
            self.set_header(name, value)

    async def _write(self, request: OwnRequest, view: View) -> None:
        self.set_status(view.status)
        self.write(await aside(self._render, request, view))

    def _render(self, request: OwnRequest, view: View) -> bytes:
        self.set_header("Content-Type", "text/html; charset=utf-8")
        return self.render_string(
            "own.html",
            view=view,
            page_url=request.url,
            asset=ASSETS.url,
            language=languages.HTML_LANGUAGES[request.locale.code],
            languages=languages.LANGUAGES,
            html_languages=languages.HTML_LANGUAGES,
            zone=request.formats.zone.key,
            version=__version__,
            page=part_values(
                request.formats, shows=lambda button: button.for_viewers, csv_url=lambda table: data_url(csv_of(table))
            ),
        )

    def xsrf_form_html(self) -> str:
        """Nothing: a page of another site does not know the token."""
        return ""

    def get_user_locale(self) -> Locale | None:
        """The language in the address; None: that of the browser."""
        return self._chosen_language()

    def _chosen_language(self) -> Locale | None:
        values: list[Any] = self.request.query_arguments.get("language", [b""])
        return languages.language_of(values[-1].decode("ascii", "ignore"))
