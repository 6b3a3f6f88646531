"""The fields of forms for users and tokens, and their settings in words."""

from collections.abc import Sequence

from chatgpt_agent.admin.tokens import TokenRow
from chatgpt_agent.admin.users import UserRow
from chatgpt_agent.web.console.forms import FORM, VERSION, as_typed
from chatgpt_agent.web.console.parts import Fact, Field, Input
from chatgpt_agent.web.console.routing import ConsoleRequest


def new_user_fields(request: ConsoleRequest) -> list[Field]:
    """Returns the fields of a new user."""
    return [Field(name="name", label=request._("Name"), required=True), key_field(request), *user_fields(request, None)]


def key_field(request: ConsoleRequest) -> Field:
    """Returns the field for an OpenAI key."""
    return Field(
        name="openai_key",
        label=request._("OpenAI key"),
        input=Input.SECRET,
        required=True,
        hint=request._("The user's own key. It is stored encrypted, and never shown."),
    )


def user_fields(request: ConsoleRequest, user: UserRow | None) -> list[Field]:
    """Returns the fields of a user's settings, as they are."""
    _ = request._
    return [
        Field(name="comment", label=_("Comment"), value=user and user.comment),
        Field(
            name="allowed_models",
            label=_("Allowed models"),
            input=Input.LINES,
            value=user and user.allowed_models,
            empty_is_none=True,
            hint=_("One name or pattern, such as gpt-6*, on each line. Empty: every model that has a price."),
        ),
        *_limit_fields(request, user),
        Field(
            name="standard_tier_only",
            label=_("Standard service tier only"),
            input=Input.FLAG,
            value=user is not None and user.standard_tier_only,
            hint=_(
                "The user's OpenAI project never answers in a faster, dearer tier that was not asked for, so budgets "
                "need not reserve it."
            ),
        ),
    ]


def token_fields(request: ConsoleRequest, token: TokenRow | None) -> list[Field]:
    """Returns the fields of a token's settings, as they are."""
    _ = request._
    return [
        Field(name="label", label=_("Label"), value=token and token.label, hint=_("Such as: laptop, or CI.")),
        Field(
            name="expires_at",
            label=_("Expires"),
            input=Input.TIME,
            value=token and token.expires_at,
            empty_is_none=True,
            hint=_("In the time zone %(zone)s. Empty: never.") % {"zone": request.zone},
        ),
        Field(
            name="allowed_models",
            label=_("Allowed models"),
            input=Input.LINES,
            value=token and token.allowed_models,
            empty_is_none=True,
            hint=_("One name or pattern, such as gpt-6*, on each line. Empty: every model that the user may use."),
        ),
        Field(
            name="allowed_networks",
            label=_("Allowed networks"),
            input=Input.LINES,
            value=token and token.allowed_networks,
            empty_is_none=True,
            hint=_("One network, such as 10.0.0.0/8, on each line. Empty: every network."),
        ),
        *_limit_fields(request, token),
    ]


def _limit_fields(request: ConsoleRequest, row: UserRow | TokenRow | None) -> list[Field]:
    _ = request._
    labels = {"rpm": _("Requests a minute"), "tpm": _("Tokens a minute"), "concurrency": _("Requests at once")}
    return [
        Field(
            name=name,
            label=label,
            input=Input.NUMBER,
            value=None if row is None else getattr(row, name),
            empty_is_none=True,
            hint=_("Empty: no limit."),
        )
        for name, label in labels.items()
    ]


def version_field(version: int) -> Field:
    """Returns the hidden field with the version of what the page shows."""
    return Field(name=VERSION, input=Input.HIDDEN, value=version)


def limits_text(request: ConsoleRequest, row: UserRow | TokenRow) -> str | None:
    """Returns the limits in words; None: there are none."""
    _ = request._
    texts = {
        "rpm": _("%(n)s requests a minute"),
        "tpm": _("%(n)s tokens a minute"),
        "concurrency": _("%(n)s requests at once"),
    }
    limits = [
        text % {"n": request.formats.number(value)}
        for name, text in texts.items()
        if (value := getattr(row, name)) is not None
    ]
    return ", ".join(limits) or None


def setting_facts(request: ConsoleRequest, row: UserRow | TokenRow) -> list[Fact]:
    """Returns allowed models and limits."""
    _ = request._
    every = _("every model that has a price") if isinstance(row, UserRow) else _("every model that the user may use")
    return [
        Fact(_("Allowed models"), list_text(row.allowed_models, every)),
        Fact(_("Limits"), limits_text(request, row) or _("none")),
    ]


def list_text(values: tuple[str, ...] | None, every: str) -> str:
    """Returns a list of patterns or networks as text."""
    return every if values is None else ", ".join(values)


def undo_fields(request: ConsoleRequest, form: str, fields: Sequence[Field], version: int) -> dict[str, str]:
    """Returns what the form with this name would send to set these fields to their first values again. `version`: of
    the change that this undoes."""
    return {FORM: form, VERSION: str(version), **{field.name: _exact(request, field) for field in fields}}


def _exact(request: ConsoleRequest, field: Field) -> str:
    """A form shows times to the minute."""
    return field.value.isoformat() if field.input == Input.TIME and field.value else as_typed(field, request.zone)
