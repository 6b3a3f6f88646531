"""The handler of the console's pages: who is signed in, what they may do, and the answer as a page."""

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from tornado import locale
from tornado.httputil import HTTPFile
from tornado.web import HTTPError, RequestHandler

from chatgpt_agent.core.errors import (
    AgentError,
    ClientClosed,
    Draining,
    Forbidden,
    MethodNotAllowed,
    MisdirectedRequest,
    NotFound,
    OneTimeLinkUsed,
    StoreError,
    UnknownUrl,
    VersionMismatch,
)
from chatgpt_agent.runtime.console_access import SignedIn
from chatgpt_agent.runtime.page_brake import Work
from chatgpt_agent.web.admin.handler import public_error
from chatgpt_agent.web.client_stream import LINGER_BYTES_WITH_TOKEN
from chatgpt_agent.web.console import cookies, pages
from chatgpt_agent.web.console.aside import aside
from chatgpt_agent.web.console.errors import error_view
from chatgpt_agent.web.console.form_body import form_texts, parse_form
from chatgpt_agent.web.console.formats import Formats
from chatgpt_agent.web.console.forms import FORM, fill, remember
from chatgpt_agent.web.console.headers import PAGE_HEADERS
from chatgpt_agent.web.console.languages import language_of
from chatgpt_agent.web.console.parts import Download, Form, Message, Notice, Part, Redirect, Result, Table, View
from chatgpt_agent.web.console.rendering import can_see, render
from chatgpt_agent.web.console.routing import PREFIX, ConsoleRequest, ConsoleServices, Page
from chatgpt_agent.web.console.tables import csv_of
from chatgpt_agent.web.errors import page_fields
from chatgpt_agent.web.health import RootHandler
from chatgpt_agent.web.turns import TurnHandler

LOGIN = f"{PREFIX}/login"
UNKNOWN_BODY = 64 * 1024  # bytes of a form from a browser that is not signed in
MAX_WARNINGS = 5  # after an action


class AdminRootHandler(RootHandler):
    """`GET /` of the administration: the console for browsers, and what answers here for other clients."""

    def get(self) -> None:
        """Answers with the address of the console, or in JSON."""
        if "text/html" in self.request.headers.get("Accept", ""):
            self.redirect(PREFIX, status=303)
        else:
            super().get()

    head = get


class ConsoleHandler(TurnHandler):
    """Handles a page of the console."""

    def initialize(self, services: ConsoleServices, page: Page) -> None:
        self._services = services
        self._page = page
        self.methods = (*(("GET", "HEAD") if page.get else ()), *(("POST",) if page.post else ()))
        self._signed_in: SignedIn | None = None
        self._names = re.findall(r"{(\w+)}", page.path)
        self._error: tuple[str, str] | None = None  # field and text, of the form that was sent

    def clear(self) -> None:
        super().clear()
        for name, value in PAGE_HEADERS:
            self.set_header(name, value)

    # Before the body.

    async def prepare(self) -> None:  # type: ignore[override]  # Tornado awaits it; the base class's is not async
        try:
            await self._authorize()
        except AgentError as error:
            self.refuse(public_error(error))
        except Exception as error:  # as the base class does, which is not async
            self.log_exception(type(error), error, error.__traceback__)
            self.refuse(AgentError())

    async def _authorize(self) -> None:
        if not self._services.access.is_allowed_host(self.request.host):
            raise MisdirectedRequest
        if self.request.method not in self.methods:
            raise MethodNotAllowed(f"Only {' and '.join(self.methods)} requests are accepted here.")
        if self._services.api.lifecycle.draining:
            raise Draining
        self.max_body_size = UNKNOWN_BODY
        await self._identify()
        if self._signed_in is not None:
            self.access.user = self._signed_in.admin.name
            self.stream.linger_bytes = LINGER_BYTES_WITH_TOKEN
            self.max_body_size = self._page.max_body
        elif not self._page.public and self.request.method != "POST":
            self._redirect_to_login()
            return
        owner = self._signed_in.admin.name if self._signed_in else "console"
        self.reserve_body(self._services.api.memory.share(f"admin {owner}"))

    async def _identify(self) -> None:
        """Finds out who is signed in. Raises Forbidden where that admin may not do this."""
        secret = self.get_cookie(cookies.SESSION)
        self._signed_in = await self._services.access.identify(secret, self.request.headers, self.request.remote_ip)
        if self._signed_in is not None:
            self._check_role(self._signed_in)

    def _redirect_to_login(self) -> None:
        self.redirect(f"{LOGIN}?next={self._encoded_url()}", status=303)

    def _check_role(self, signed_in: SignedIn) -> None:
        method = "GET" if self.request.method == "HEAD" else str(self.request.method)
        if not self._page.public and not self._page.is_for(method, signed_in.admin.role):
            raise Forbidden(self.translate("Viewers may look at this console, but not change anything."))

    def _encoded_url(self) -> str:
        return cookies.encoded(self.request.uri or PREFIX)

    # With the body.

    async def get(self, *path_values: str) -> None:
        """Shows the page."""
        with self._services.api.lifecycle:
            request = self._request(path_values, {}, {})
            try:
                assert self._page.get is not None
                if await self.wait_for_turn(self._services.page_brake, request.owner):
                    await self._identify()  # again: meanwhile the admin may have been removed
                    request = self._request(path_values, {}, {})
                    if self._signed_in is None and not self._page.public:
                        self._redirect_to_login()
                        return
                await self._answer(request, await self._page.get(request))
            except ClientClosed as error:
                self.note_disconnect(error)
            except AgentError as error:
                await self._show_error(request, public_error(error))

    head = get

    async def post(self, *path_values: str) -> None:
        """Does what the form says."""
        with self._services.api.lifecycle:
            request = self._request(path_values, {}, {})
            body = self.take_body()  # now: a form is done even if its client leaves while it waits
            try:
                if not self._page.public:  # the sign-in has waits of its own
                    await self._wait_with_form(request.owner)
                request = self._request(path_values, *self._read_form(body))
                if self._signed_in is None and not self._page.public:
                    await self._answer(request, pages.signed_out(request))
                    return
                assert self._page.post is not None
                result = await self._page.post(request)
                if isinstance(result, Redirect) and not self._page.public:
                    self._services.page_brake.give_back()
                await self._answer(request, result)
            except AgentError as error:
                await self._answer_failure(request, public_error(error))

    async def _wait_with_form(self, owner: str) -> None:
        turn = self._services.page_brake.turn(owner, Work.FORM)
        waits = not turn.done()
        await turn
        if waits:
            await self._identify()  # again: meanwhile the admin may have been removed

    async def _answer_failure(self, request: ConsoleRequest, error: AgentError) -> None:
        """Shows the form again, with the error and with what was typed."""
        if self._page.get is None or isinstance(error, Forbidden | NotFound | OneTimeLinkUsed | StoreError):
            await self._show_error(request, error)
            return
        text = request.message(error.message)
        if isinstance(error, VersionMismatch):
            text = request._("Another admin has changed this meanwhile. What you typed is kept; the rest is new.")
        self._error = (error.param or error.message.partition(": ")[0], text)
        self.access.fail(error)
        try:
            view = await self._page.get(request)
        except AgentError as again:
            await self._show_error(request, public_error(again))
            return
        if isinstance(view, View):
            has_form = any(isinstance(part, Form) and part.name == request.sent.get(FORM) for part in view.parts)
            above = [] if has_form else [Message(text=text, level="bad")]  # such as the error of a button
            view = msgspec.structs.replace(view, status=error.status, parts=[*above, *view.parts])
        await self._answer(request, view)

    def _read_form(self, body: bytes) -> tuple[dict[str, str], dict[str, list[HTTPFile]]]:
        """Returns the fields and files of the body. Raises InvalidRequest, Forbidden."""
        arguments, files = parse_form(self.request.headers, body)
        self.request.arguments.update(arguments)
        self._check_xsrf()
        return form_texts(arguments), files

    def _check_xsrf(self) -> None:
        try:
            RequestHandler.check_xsrf_cookie(self)
        except HTTPError:
            raise Forbidden(
                self.translate(
                    "This form did not come from this console, or your browser keeps no cookies of it. Open the "
                    "console with https, or on the machine itself as localhost, and try again."
                )
            ) from None

    def _request(
        self, path_values: tuple[str, ...], sent: dict[str, str], files: dict[str, list[HTTPFile]]
    ) -> ConsoleRequest:
        url = urlsplit(self.request.uri or "")
        return ConsoleRequest(
            services=self._services,
            signed_in=self._signed_in,
            path=dict(zip(self._names, path_values, strict=True)),
            query=dict(parse_qsl(url.query)),
            sent=sent,
            files=files,
            locale=self.locale,
            formats=Formats(self.locale.code, self._services.time_zone()),
            url=self.request.uri or "",
            address=self._services.access.client_address(self.request.headers, self.request.remote_ip),
            secret=self.get_cookie(cookies.SESSION),
            origin=f"{self.request.protocol}://{self.request.host}",
        )

    # The answer.

    async def _answer(self, request: ConsoleRequest, result: Result) -> None:
        match result:
            case Redirect():
                self._set_cookies(request, result)
                self.redirect(result.href, status=303)
            case Download():
                self.set_header("Content-Type", result.media_type)
                self.set_header("Content-Disposition", f'attachment; filename="{result.name}"')
                self.write(result.content)
            case View() if (name := request.query.get("csv")) and self.request.method != "POST":
                await self._write_csv(request, result, name)
            case View():
                await self._write_page(request, result)

    async def _write_csv(self, request: ConsoleRequest, view: View, name: str) -> None:
        for part in view.parts:
            if isinstance(part, Table) and part.name == name:
                self.set_header("Content-Type", "text/csv; charset=utf-8")
                self.set_header("Content-Disposition", f'attachment; filename="{name}.csv"')
                self.write(csv_of(part))
                return
        await self._write_page(request, error_view(request, UnknownUrl(f"This page has no table {name[:60]!r}.")))

    async def _write_page(self, request: ConsoleRequest, view: View) -> None:
        parts: list[Part] = [self._filled(part, request) for part in view.parts if can_see(part, request)]
        view = msgspec.structs.replace(view, parts=parts)
        self._set_session(view.session)
        self.set_status(view.status)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        notice = self._take_notice() if self.request.method == "GET" else None
        _ = self.xsrf_token  # sets its cookie, which forms would do too late
        # A page with charts takes some 30 ms, by which clients' requests would wait.
        self.write(await aside(render, self, request, view, notice))

    def _filled(self, part: Part, request: ConsoleRequest) -> Part:
        return fill(remember(part, request.zone), request.sent, self._error) if isinstance(part, Form) else part

    async def _show_error(self, request: ConsoleRequest, error: AgentError) -> None:
        self._set_error(error)
        await self._answer(request, error_view(request, error))

    def _set_error(self, error: AgentError) -> None:
        self.access.fail(error)
        for name, value in page_fields(error, self.methods):
            self.set_header(name, value)

    def _set_cookies(self, request: ConsoleRequest, result: Redirect) -> None:
        if result.notice is not None:
            notice = msgspec.structs.replace(result.notice, warnings=request.warnings[:MAX_WARNINGS])
            self.set_cookie(cookies.NOTICE, cookies.sign(self._cookie_secret, notice), **cookies.ATTRIBUTES)
        self._set_session(result.session)
        for name, value in result.preferences.items():
            self.set_cookie(name, value, expires_days=cookies.PREFERENCE_DAYS, **cookies.ATTRIBUTES)

    def _set_session(self, secret: str | None) -> None:
        if secret:
            self.set_cookie(cookies.SESSION, secret, **cookies.ATTRIBUTES)
        elif secret is not None:
            self.clear_cookie(cookies.SESSION, **cookies.ATTRIBUTES)

    def _take_notice(self) -> Notice | None:
        text = self.get_cookie(cookies.NOTICE)
        if text is None:
            return None
        self.clear_cookie(cookies.NOTICE, **cookies.ATTRIBUTES)
        return cookies.unsign(self._cookie_secret, text)

    @property
    def _cookie_secret(self) -> bytes:
        return self._services.api.authenticator.keyring.cookie_secret

    # Errors before the page.

    def translate(self, text: str) -> str:
        """Returns a text in the language of the browser."""
        return str(self.locale.translate(text))

    _ = translate

    def get_user_locale(self) -> locale.Locale | None:
        """The language that was chosen; None: that of the browser."""
        return language_of(self.get_cookie(cookies.LANGUAGE))

    def write_agent_error(self, error: AgentError) -> None:
        """Sets a page with an error as the answer."""
        self.clear()
        self._set_error(error)
        request = self._request(("",) * len(self._names), {}, {})
        view = error_view(request, error)
        self.set_status(view.status)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.write(render(self, request, view, None))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == 403:  # by Tornado's cross_origin_protection
            self.write_agent_error(Forbidden(self.translate("A page of another site sent this form.")))
            self.finish()
        else:
            super().write_error(status_code, **kwargs)
