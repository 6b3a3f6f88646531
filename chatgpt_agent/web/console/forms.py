"""Forms: what was typed becomes the struct that REST reads from JSON, so that both have the same rules and errors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from chatgpt_agent.core.errors import AgentError, InvalidRequest, InvalidValue
from chatgpt_agent.core.moments import parse_moment
from chatgpt_agent.web.admin.reading import read_struct
from chatgpt_agent.web.console.parts import Field, Form, Input

CONFIRM = "confirm"  # the field in which the name of what is destroyed is typed
FORM = "form"  # the field that says which form of a page was sent
VERSION = "version"  # the field with the version of the object that the page showed
INITIAL = "initial"  # the field with what the form of an object with a version showed at first, as JSON
OWN_FIELDS = frozenset({CONFIRM, FORM, VERSION, INITIAL, "_xsrf"})
NOT_FILLED = frozenset({Input.SECRET, Input.NEW_PASSWORD, Input.HIDDEN, Input.FILE})

Sent = Mapping[str, str]


def read_form(fields: list[Field], sent: Sent, kind: type[msgspec.Struct], zone: str) -> Any:
    """Returns the struct of these fields. Times are in `zone`. Raises InvalidRequest and InvalidValue, with the field
    as `param`."""
    return read_struct(form_values(fields, sent, zone), kind)


def form_values(fields: list[Field], sent: Sent, zone: str) -> dict[str, Any]:
    """Returns the values of these fields as JSON would have them. An empty field is null or missing. Raises
    InvalidRequest."""
    values: dict[str, Any] = {}
    for field in fields:
        text = sent.get(field.name, "")
        if field.input == Input.FLAG:
            values[field.name] = text == "true"
            continue
        text = text if field.input in (Input.SECRET, Input.NEW_PASSWORD) else text.strip()
        if text:
            values[field.name] = _READERS.get(field.input, _text)(text, field, zone)
        elif field.empty_is_none:
            values[field.name] = None
        elif field.input in (Input.TEXT, Input.LONG_TEXT) and not field.required:
            values[field.name] = ""
    return values


def changed_fields(fields: Sequence[Field], sent: Sent, zone: str) -> list[Field]:
    """Returns the fields of which something else was sent than they show at first. Others are no change: a time is
    shown to the minute only."""
    return [field for field in fields if _plain_text(sent.get(field.name, "")) != _plain_text(as_typed(field, zone))]


def _plain_text(text: str) -> str:
    return "\n".join(text.split("\r\n")).strip()


def _text(text: str, _: Field, __: str) -> str:
    return text.replace("\r\n", "\n")


def _lines(text: str, _: Field, __: str) -> list[str]:
    return [line.strip() for part in text.splitlines() for line in part.split(",") if line.strip()]


def _number(text: str, field: Field, _: str) -> int:
    plain = text.replace(",", "").replace(" ", "")
    if not (plain.isascii() and plain.isdigit() and len(plain) <= 19):
        raise InvalidRequest(f"{field.name}: {text[:60]!r} is not a whole number", param=field.name)
    return int(plain)


def _usd(text: str, _: Field, __: str) -> str:
    return text.removeprefix("$").strip()


def _time(text: str, field: Field, zone: str) -> str:
    parse_moment(text, field.name)
    return with_offset(text, zone)


def with_offset(text: str, zone: str) -> str:
    """Returns a moment with its offset; browsers send `2026-11-28T12:30`. What is not a moment stays as it is."""
    if _has_offset(text):
        return text
    try:
        return parse_moment(text, "").replace(tzinfo=ZoneInfo(zone)).isoformat()
    except InvalidValue:
        return text


def _has_offset(text: str) -> bool:
    return text.endswith(("Z", "z", "UTC", "GMT")) or "+" in text or text.count("-") > 2


_READERS: dict[Input, Callable[[str, Field, str], Any]] = {
    Input.LINES: _lines,
    Input.NUMBER: _number,
    Input.USD: _usd,
    Input.TIME: _time,
}


def as_typed(field: Field, zone: str) -> str:
    """Returns the first value of a field as its input has it."""
    value = field.value
    if value is None:
        return ""
    if field.input == Input.LINES:
        return value if isinstance(value, str) else "\n".join(value)
    if field.input == Input.FLAG:
        return "true" if value else ""
    if field.input == Input.TIME and not isinstance(value, str):
        return f"{value.astimezone(ZoneInfo(zone)):%Y-%m-%dT%H:%M}"
    return f"{value:f}" if field.input == Input.USD and not isinstance(value, str) else str(value)


def remember(form: Form, zone: str) -> Form:
    """Returns the form of an object with a version together with what it shows, for `fill`."""
    initial = {field.name: as_typed(field, zone) for field in form.fields if field.input not in NOT_FILLED}
    if not initial or all(field.name != VERSION for field in form.fields):
        return form
    hidden = Field(name=INITIAL, input=Input.HIDDEN, value=msgspec.json.encode(initial).decode())
    return msgspec.structs.replace(form, fields=[*form.fields, hidden])


def fill(form: Form, sent: Sent, error: tuple[str, str] | None) -> Form:
    """Returns a form with what was typed, if it is the one that was sent, and with the error at its field. Secrets and
    hidden fields are not filled in: the latter may be newer than what was sent. So may be the fields in which nothing
    was typed: what another admin has changed there would be undone by sending the form again."""
    if sent.get(FORM) != form.name:
        return form
    initial = _initial(sent)
    fields = [
        field
        if field.input in NOT_FILLED or _plain_text(sent.get(field.name, "")) == initial.get(field.name)
        else msgspec.structs.replace(field, value=sent.get(field.name, ""))
        for field in form.fields
    ]
    errors = {} if error is None else _placed(form, error)
    return msgspec.structs.replace(form, fields=fields, errors=errors, folded=False)


def _initial(sent: Sent) -> dict[str, str]:
    try:
        texts = msgspec.json.decode(sent.get(INITIAL, "{}"), type=dict[str, str])
    except msgspec.MsgspecError:
        return {}
    return {name: _plain_text(text) for name, text in texts.items()}


def with_error(form: Form, error: AgentError, text: str) -> Form:
    """Returns a form with the error at its field. `text`: its message in the language of the page."""
    param = error.param or error.message.partition(": ")[0]
    return msgspec.structs.replace(form, errors=_placed(form, (param, text)))


def _placed(form: Form, error: tuple[str, str]) -> dict[str, str]:
    param, text = error
    names = [field.name for field in form.fields] + [CONFIRM]
    name = param.partition("[")[0]
    if name not in names:
        return {"": text}
    return {name: text.removeprefix(f"{param}: ").removeprefix(f"{param}：")}  # the colon of the language
