"""Style sheets and scripts, in memory and with their hash in the address, so that browsers keep them for good."""

import gzip
import hashlib
import mimetypes
from pathlib import Path

import msgspec

from chatgpt_agent.core.errors import UnknownUrl
from chatgpt_agent.web.base import ApiHandler
from chatgpt_agent.web.console.headers import PAGE_HEADERS

FOLDER = Path(__file__).parent / "static"
SUFFIXES = {".css", ".js", ".svg", ".txt"}
A_YEAR = 365 * 24 * 3600  # seconds


class Asset(msgspec.Struct, frozen=True):
    """A file, and its gzip."""

    content: bytes
    packed: bytes
    media_type: str
    tag: str


class Assets:
    """The files of a folder, read when the first one is asked for."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder = folder
        self._prefix = prefix
        self._files: dict[str, Asset] = {}

    def _load(self) -> dict[str, Asset]:
        if not self._files:
            paths = [path for path in self._folder.rglob("*") if path.suffix in SUFFIXES]
            # In one step: several pages may be rendered at once, each in its thread.
            self._files = {path.relative_to(self._folder).as_posix(): read_asset(path) for path in paths}
        return self._files

    def url(self, name: str) -> str:
        """Returns the address of a file."""
        return f"{self._prefix}/{name}?v={self._load()[name].tag}"

    def get(self, name: str) -> Asset | None:
        """Returns a file, or None if it does not exist."""
        return self._load().get(name)


def read_asset(path: Path) -> Asset:
    """Returns a file. Raises OSError."""
    content = path.read_bytes()
    media_type = mimetypes.guess_type(path.name)[0] or "text/plain"
    tag = hashlib.sha256(content).hexdigest()[:16]
    return Asset(content, gzip.compress(content, 9, mtime=0), f"{media_type}; charset=utf-8", tag)


ASSETS = Assets(FOLDER, "/console/static")


class AssetHandler(ApiHandler):
    """Answers with a file."""

    quiet = True

    def initialize(self, assets: Assets) -> None:
        self._assets = assets

    def get(self, name: str) -> None:
        """Answers with a file; one of this version never changes."""
        asset = self._assets.get(name)
        if asset is None:
            self.write_agent_error(UnknownUrl(f"There is no file {name[:100]}."))
            return
        for field, value in PAGE_HEADERS:
            self.set_header(field, value)
        current = self.get_query_argument("v", "") == asset.tag
        self.set_header("Cache-Control", f"public, max-age={A_YEAR}, immutable" if current else "no-cache")
        self.set_header("Content-Type", asset.media_type)
        self.set_header("Vary", "Accept-Encoding")
        packed = "gzip" in self.request.headers.get("Accept-Encoding", "")
        if packed:
            self.set_header("Content-Encoding", "gzip")
        self.write(asset.packed if packed else asset.content)

    head = get
