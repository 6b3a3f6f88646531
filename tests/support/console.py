"""A browser without script, as far as tests of the console's pages need one."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from chatgpt_agent.adapters.postgres.admins import AdminRow, set_password
from chatgpt_agent.adapters.postgres.sessions import add_session
from chatgpt_agent.admin.admins import Role
from tests.support.administration import ROOT
from tests.support.agent import Agent
from tests.support.canaries import SECRETS
from tests.support.client import Answer, fetch

PASSWORD = "made-up words of carol"
HASH = "$argon2id$v=19$m=19456,t=2,p=1$9EAIgUgZJCYg9zJp60E2Bw$8C/8jLYJZbsjHh97VkInrFAGHzmdPLiCuWKEe1yXf5Q"
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Element:
    """An element of a page."""

    def __init__(self, tag: str, attributes: dict[str, str], parent: "Element | None") -> None:
        self.tag = tag
        self.attributes = attributes
        self.parent = parent
        self.children: list[Element | str] = []

    @property
    def text(self) -> str:
        """The text that is shown, with single spaces."""
        parts = [child if isinstance(child, str) else child.text for child in self.children]
        return re.sub(r"\s+", " ", " ".join(parts)).strip()

    def all(self, tag: str, **attributes: str) -> "list[Element]":
        """The elements of this kind within, with these attributes; `class_` is one of the classes."""
        own = [child for child in self.children if isinstance(child, Element)]
        direct = [child for child in own if child.tag == tag and child.matches(attributes)]
        return direct + [each for child in own for each in child.all(tag, **attributes)]

    def one(self, tag: str, **attributes: str) -> "Element":
        """The only element of this kind within."""
        [element] = self.all(tag, **attributes)
        return element

    def matches(self, attributes: dict[str, str]) -> bool:
        """Whether the element has these attributes."""
        classes = self.attributes.get("class", "").split()
        return all(
            value in classes if name == "class_" else self.attributes.get(name) == value
            for name, value in attributes.items()
        )


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = self.at = Element("root", {}, None)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        element = Element(tag, {name: value or "" for name, value in attributes}, self.at)
        self.at.children.append(element)
        if tag not in VOID:
            self.at = element

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if self.at.tag not in (tag, "p"):
            raise AssertionError(f"<{self.at.tag}> ends with </{tag}>")
        while self.at.tag != tag:
            assert self.at.parent is not None
            self.at = self.at.parent
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, text: str) -> None:
        self.at.children.append(text)


class PageAnswer:
    """A page as it came."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.status = answer.status
        self.html = answer.body.decode()
        parser = _Parser()
        parser.feed(self.html)
        self.root = parser.root

    def header(self, name: str) -> str | None:
        """The value of a header field."""
        return self.answer.header(name)

    @property
    def main(self) -> Element:
        """The content of the page."""
        return self.root.one("main")

    @property
    def text(self) -> str:
        """The text of the content."""
        return self.main.text

    @property
    def title(self) -> str:
        """The heading of the page."""
        return self.root.one("h1").text

    @property
    def notice(self) -> str:
        """What the action before this page has done."""
        return " ".join(each.text for each in self.root.all("section", role="status"))

    def facts(self) -> dict[str, str]:
        """The names and values of the lists of facts."""
        entries = [entry for part in self.root.all("section", class_="facts") for entry in part.all("div")]
        return {each.one("dt").text: each.one("dd").text for each in entries if each.all("dt")}

    def rows(self, name: str) -> list[list[str]]:
        """The cells of the table with this name, without head and foot."""
        tables = self.root.all("table", id=f"{name}-rows")
        return [[cell.text for cell in row.all("td")] for table in tables for row in table.one("tbody").all("tr")]

    def form(self, name: str) -> dict[str, str]:
        """What a browser would send for the form with this name, as it is."""
        form = self.root.one("form", id=name)
        values: dict[str, str] = {}
        for field in form.all("input"):
            kind = field.attributes.get("type", "text")
            if kind != "file" and (kind != "checkbox" or "checked" in field.attributes):
                values[field.attributes["name"]] = field.attributes.get("value", "")
        for area in form.all("textarea"):
            values[area.attributes["name"]] = "".join(str(child) for child in area.children)
        for select in form.all("select"):
            options = select.all("option")
            chosen = [each for each in options if "selected" in each.attributes] or options[:1]
            for each in chosen:
                values[select.attributes["name"]] = each.attributes["value"]
        return values


class ConsoleClient:
    """A browser that is signed in, or not."""

    def __init__(self, agent: Agent, session: str | None = None, **headers: str) -> None:
        self.agent = agent
        self.cookies: dict[str, str] = {} if session is None else {"__Host-session": session}
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    async def get(self, path: str, **headers: str) -> PageAnswer:
        """Asks for a page below /console."""
        return PageAnswer(await self.fetch("GET", path, b"", **headers))

    async def file(self, path: str) -> Answer:
        """Asks for a file below /console."""
        return await self.fetch("GET", path)

    async def submit(self, path: str, form: str, /, *, to: str | None = None, **values: str) -> PageAnswer:
        """Opens a page, fills in its form, and sends it. Returns the page that a browser shows then."""
        page = await self.get(path)
        element = page.root.one("form", id=form)
        target = (to or element.attributes["action"]).removeprefix("/console")
        return await self.send(target, {**page.form(form), **values})

    async def press(self, page: PageAnswer, label: str) -> PageAnswer:
        """Sends the form of hidden fields that has this button, such as that of an undo."""
        [form] = [each for each in page.root.all("form") if any(b.text == label for b in each.all("button"))]
        values = {field.attributes["name"]: field.attributes["value"] for field in form.all("input", type="hidden")}
        return await self.send(form.attributes["action"].removeprefix("/console"), values)

    async def send(self, path: str, values: dict[str, str], **headers: str) -> PageAnswer:
        """Sends a form, and follows the redirect."""
        body = urlencode(values).encode()
        fields: dict[str, str] = {"Content_Type": "application/x-www-form-urlencoded", **headers}
        answer = await self.fetch("POST", path, body, **fields)
        location = answer.header("Location")
        if answer.status == 303 and location is not None:
            return await self.get(location.removeprefix("/console"))
        return PageAnswer(answer)

    async def send_file(self, path: str, form: str, name: str, content: bytes, **values: str) -> PageAnswer:
        """Opens a page, and sends its form with a file."""
        return await self.send_files(path, form, [(name, content)], **values)

    async def send_files(self, path: str, form: str, files: list[tuple[str, bytes]], **values: str) -> PageAnswer:
        """Opens a page, and sends its form with files, each in the field of a name."""
        page = await self.get(path)
        fields = {**page.form(form), **values}
        target = page.root.one("form", id=form).attributes["action"].removeprefix("/console")
        boundary = "made-up-boundary"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
            for key, value in fields.items()
        ]
        for name, content in files:
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="file"\r\n'
            parts.append(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n")
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        answer = await self.fetch("POST", target, body, Content_Type=f"multipart/form-data; boundary={boundary}")
        location = answer.header("Location")
        if answer.status == 303 and location is not None:
            return await self.get(location.removeprefix("/console"))
        return PageAnswer(answer)

    async def fetch(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Sends a request with the cookies, and keeps those of the answer."""
        host = self.agent.admin_url.partition("://")[2]
        fields = {"Host": host, **self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = await fetch(f"{self.agent.admin_url}/console{path}", method, fields, body)
        for name, value in answer.headers:
            if name.lower() == "set-cookie":
                cookie = value.partition(";")[0]
                key, _, text = cookie.partition("=")
                if text.strip('"') == "":
                    self.cookies.pop(key, None)
                else:
                    self.cookies[key] = text.strip('"')
        return answer


async def add_admin(agent: Agent, name: str = "carol", role: Role = Role.ADMIN) -> AdminRow:
    """Adds an admin with the password PASSWORD."""
    store = agent.store.with_actor(ROOT)
    return await set_password(store, name=name, role=role, password_hash=HASH, now=datetime.now(UTC))


async def sign_in(agent: Agent, name: str = "carol", role: Role = Role.ADMIN) -> ConsoleClient:
    """Returns the browser of an admin who is signed in."""
    admin = await add_admin(agent, name, role)
    secret, digest = agent.server.admin_authenticator.keyring.new_session()
    assert await add_session(agent.store, digest=digest, admin_id=admin.id, password_hash=HASH, now=datetime.now(UTC))
    SECRETS.add(secret)
    return ConsoleClient(agent, secret)
