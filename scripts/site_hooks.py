"""Hooks of mkdocs.yml. Pages link to files outside of docs/, as they do in the repository: these become part of the
site, below `repository/`. No page may load anything from another host."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")  # a relative one, without its anchor
OTHER_HOST = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^>]*>""")
# How a search weighs pages, by the beginning of their path. History stands last. Lists that have every word stand after
# pages that explain, above all the REST reference, with its objects such as OutboxHealth. What a viewer may see would
# otherwise stand behind pages that have these words more often.
BOOSTS = {
    **dict.fromkeys(("decisions/", "repository/CHANGELOG", "repository/README.zh-CN", "rest.md"), 0.001),
    **dict.fromkeys(("cli.md", "tables.md", "admin-api.md", "repository/benchmarks/"), 0.2),
    "console-access.md": 4,
}
log = logging.getLogger("mkdocs.hooks.site")  # warnings of loggers below "mkdocs" fail a strict build


def uri(path: Path) -> str:
    """The place of a file of the repository in the sources of the site."""
    return path.relative_to(DOCS).as_posix() if path.is_relative_to(DOCS) else f"repository/{path.relative_to(ROOT)}"


def with_links(text: str, change: Callable[[re.Match[str]], str]) -> str:
    """A page with its relative links changed, but for those in blocks of code."""
    parts = FENCE.split(text)
    return "".join(part if FENCE.fullmatch(part) else LINK.sub(change, part) for part in parts)


def linked_files(page: Path) -> Iterator[Path]:
    """The files to which a page links."""
    targets = list[Path]()
    with_links(page.read_text("utf-8"), lambda match: targets.append((page.parent / match[1]).resolve()) or "")
    return (target for target in targets if target.is_file() and target.is_relative_to(ROOT))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files outside of docs/ to which pages link, and those to which these link."""
    pages = [Path(file.abs_src_path) for file in files.documentation_pages() if file.abs_src_path]
    while pages:
        for target in linked_files(pages.pop()):
            if files.get_file_from_path(uri(target)) is None:
                files.append(File.generated(config, uri(target), abs_src_path=str(target)))
                pages.extend([target] if target.suffix == ".md" else [])
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lets the links of a page lead to the places in the site. A search weighs it as BOOSTS says."""
    for start, boost in BOOSTS.items():
        if page.file.src_uri.startswith(start):
            page.meta["search"] = {"boost": boost}
    source, folder = Path(str(page.file.abs_src_path)), Path(page.file.src_uri).parent

    def place(match: re.Match[str]) -> str:
        target = (source.parent / match[1]).resolve()
        return os.path.relpath(uri(target), folder) if target.is_relative_to(ROOT) else match[1]

    return with_links(markdown, place)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Warns of whatever the page would load from another host."""
    for match in OTHER_HOST.finditer(output):
        log.warning("%s would load from another host: %s", page.file.src_uri, match[0])
    return output
