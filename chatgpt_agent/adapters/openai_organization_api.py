"""OpenAI's organization API, which reports usage and costs. The admin key does not leave this module."""

from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import msgspec

from chatgpt_agent.adapters.config_values import UpstreamSettings
from chatgpt_agent.adapters.curl.get import get
from chatgpt_agent.adapters.files import read_secret_file
from chatgpt_agent.core.errors import AgentError, SetupError, UpstreamError, UpstreamInvalid, UpstreamKeyRejected
from chatgpt_agent.core.openai_pages import read_pages
from chatgpt_agent.core.openai_usage import FigurePage, Kind

MAX_KEY = 512
MAX_PAGES = 1000  # for a month; a server with more never ends
TIMEOUT = 60.0  # seconds for a page

# What the figures of each kind are grouped by: all of it that OpenAI allows (`group_by` of
# openai.types.admin.organization.usage_*_params).
_BY_KEY = ("api_key_id", "project_id")
_GROUPS = {
    Kind.COMPLETIONS: ("model", *_BY_KEY, "batch"),
    Kind.DECISIONS: ("model", *_BY_KEY, "batch"),
    Kind.EMBEDDINGS: ("model", *_BY_KEY),
    Kind.IMAGES: ("model", *_BY_KEY),
    Kind.TRANSCRIPTIONS: ("model", *_BY_KEY),
    Kind.MODERATIONS: ("model", *_BY_KEY),
    Kind.WEB_SEARCH: ("model", *_BY_KEY),
    Kind.FILE_SEARCH: _BY_KEY,
    Kind.CODE_INTERPRETER: ("project_id",),
    Kind.COSTS: ("line_item", *_BY_KEY),
}
_NEEDED = (Kind.COMPLETIONS, Kind.COSTS)


class FetchedPages(msgspec.Struct, frozen=True):
    """The pages of all kinds. `unavailable`: kinds of usage for which OpenAI has no path (404)."""

    pages: list[FigurePage]
    unavailable: list[Kind]


def read_admin_key(path: Path) -> str:
    """Returns the admin key in a file. Raises SetupError: missing, malformed, or accessible to other accounts."""
    key = read_secret_file(path, "the admin key")
    if not (0 < len(key) <= MAX_KEY and all(33 <= byte <= 126 for byte in key)):
        raise SetupError(f"the admin key {path} must hold 1 to {MAX_KEY} printable ASCII characters without spaces")
    return key.decode("ascii")


async def fetch_figures(settings: UpstreamSettings, key: str, first: date, last: date) -> FetchedPages:
    """Returns all pages of usage and costs of these days (UTC, both included). Raises UpstreamError, InvalidValue. No
    message contains the key or OpenAI's text about it."""
    start = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp())
    end = start + (last.toordinal() - first.toordinal() + 1) * 86_400
    fetched = FetchedPages([], [])
    for kind in _GROUPS:
        pages = await _fetch(settings, key, kind, [("start_time", str(start)), ("end_time", str(end))])
        if pages is None:
            fetched.unavailable.append(kind)
        else:
            fetched.pages.extend(pages)
    return fetched


async def _fetch(
    settings: UpstreamSettings, key: str, kind: Kind, days: list[tuple[str, str]]
) -> list[FigurePage] | None:
    path = "/v1/organization/costs" if kind is Kind.COSTS else f"/v1/organization/usage/{kind}"
    # A page holds up to 31 days, and arrays are sent as repeated names:
    # https://platform.openai.com/docs/api-reference/usage/completions
    query = [*days, ("bucket_width", "1d"), ("limit", "31"), *(("group_by", name) for name in _GROUPS[kind])]
    url = urlsplit(settings.url)
    pages: list[FigurePage] = []
    cursors: set[str] = set()
    following: list[tuple[str, str]] = []
    while len(pages) < MAX_PAGES:
        target = f"{url.scheme}://{url.netloc}{path}?{urlencode([*query, *following])}"
        status, body = await get(settings, target, {"Authorization": f"Bearer {key}"}, timeout=TIMEOUT)
        if status == 404 and kind not in _NEEDED and not pages:
            return None
        if status != 200:
            raise _refusal(status, path)
        page = _page(body, path, kind)
        pages.append(page)
        if not page.has_more:
            return pages
        if page.next_page is None or page.next_page in cursors:
            break
        cursors.add(page.next_page)
        following = [("page", page.next_page)]
    raise UpstreamInvalid(f"OpenAI's pages of {path} do not end.", sent=True)


def _page(body: bytes, path: str, kind: Kind) -> FigurePage:
    try:
        pages = read_pages(body, path, kind)
    except AgentError as error:
        raise UpstreamInvalid(f"OpenAI's answer cannot be read: {error.message}", sent=True) from None
    if len(pages) != 1:
        raise UpstreamInvalid(f"OpenAI's answer to {path} is not one page.", sent=True)
    return pages[0]


def _refusal(status: int, path: str) -> UpstreamError:
    """Returns the error for a status. OpenAI's text is omitted, because it may show parts of the key."""
    if status in (401, 403):
        return UpstreamKeyRejected(
            f"OpenAI refuses the admin key ({status}): it must be one of the organization's admin keys "
            "(sk-admin-…) that may read usage.",
            sent=True,
        )
    return UpstreamError(f"OpenAI answered {status} to {path}.", sent=True)
