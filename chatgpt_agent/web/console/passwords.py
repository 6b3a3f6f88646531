"""The fields of a new password, which is typed twice."""

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.web.console.parts import Field, Input
from chatgpt_agent.web.console.routing import ConsoleRequest


def password_fields(request: ConsoleRequest) -> list[Field]:
    """Returns the fields of a new password."""
    _ = request._
    return [
        Field(
            name="password",
            label=_("Password"),
            input=Input.NEW_PASSWORD,
            required=True,
            hint=_("At least 12 characters; a few words are easy to remember."),
        ),
        Field(name="again", label=_("Once more"), input=Input.NEW_PASSWORD, required=True),
    ]


def typed_password(request: ConsoleRequest) -> str:
    """Returns the password that was typed twice. Raises InvalidValue."""
    password = request.sent.get("password", "")
    if request.sent.get("again", "") != password:
        raise InvalidValue(request._("The two passwords differ."), param="again")
    return password
