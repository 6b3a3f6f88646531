"""The documentation matches the program: generated parts are current, links and paths exist, tables are complete."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import openai
import pytest

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.core.errors import AgentError, ClientError, Unavailable, UpstreamError
from chatgpt_agent.core.http.endpoints import ENDPOINTS
from tests.support.sdk_endpoints import kept_endpoints, sdk_endpoints
from tests.support.shutdowns import SHUTDOWNS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "benchmarks/README.md"])
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FOLDERS = "chatgpt_agent|tests|docs|scripts|benchmarks|migrations|packaging"
LAYERS = "core|adapters|runtime|admin|web|cli"  # below chatgpt_agent/ or tests/
NAMED_PATH = re.compile(rf"`((?:{FOLDERS})/[\w./-]*|(?:{LAYERS}|faults|proofs)/[\w./-]*\.py)`")
HISTORY = {ROOT / "CHANGELOG.md"}  # which names files and models as they were
EXAMPLES = [
    *(ROOT / "chatgpt_agent").rglob("*.py"),
    *(ROOT / "benchmarks").glob("**/*.[pc]*"),
    ROOT / "config.example.yml",
]
ENDING_MODEL = re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, SHUTDOWNS))})(?![\w-]|\.\d)")

page_parameter = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """Returns a page without its code blocks."""
    return FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """Returns the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> Iterator[str]:
    """Yields the relative links of a page that lead nowhere."""
    for link in LINK.findall(prose(page)):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not re.match(r"[a-z]+:", link) and (not target.exists() or (anchor and anchor not in anchors(target))):
            yield link


def table_rows(name: str) -> Iterator[list[str]]:
    """Yields the cells of each line of the tables of a page."""
    for line in (ROOT / name).read_text("utf-8").splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def leaf_classes(kind: type[AgentError]) -> Iterator[type[AgentError]]:
    """Yields the classes of a tree of errors that have no subclass."""
    for subclass in kind.__subclasses__():
        yield from leaf_classes(subclass)
    if not kind.__subclasses__():
        yield kind


def test_generated_parts_are_current() -> None:
    """`scripts/docs` would change nothing."""
    command = [sys.executable, "scripts/docs", "--check"]
    check = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (check.stdout, check.returncode) == ("", 0), check.stderr


def test_the_man_page_is_valid() -> None:
    """Neither mandoc nor groff finds a fault in it."""
    page = str(ROOT / "packaging/chatgpt-agent.1")
    linters = (["mandoc", "-T", "lint", "-W", "warning", page], ["man", "--warnings", "-l", page])
    linter = next((command for command in linters if shutil.which(command[0])), None)
    if linter is None:
        pytest.skip("there is neither mandoc nor man")
    environ = os.environ | {"LC_ALL": "C.UTF-8", "MANPAGER": "cat", "MANWIDTH": "100"}
    done = subprocess.run(linter, capture_output=True, text=True, env=environ, timeout=60, check=False)
    lines = done.stdout.splitlines() if linter[0] == "mandoc" else done.stderr.splitlines()
    assert [line for line in lines if "missing date" not in line] == []  # it has the version


@page_parameter
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names an existing file, and an existing heading in it."""
    assert list(dead_links(page)) == []


@page_parameter
def test_named_paths_exist(page: Path) -> None:
    """A page names only paths that exist: in the repository, the package, or its tests."""
    paths = [] if page in HISTORY else NAMED_PATH.findall(prose(page))
    bases = (ROOT, ROOT / "chatgpt_agent", ROOT / "tests")
    assert [path for path in paths if not any((base / path).exists() for base in bases)] == []


def test_dead_link_is_noticed(tmp_path: Path) -> None:
    """The check sees a missing file, a missing heading, and nothing else."""
    page = tmp_path / "page.md"
    page.write_text("# One `two`: three\n[a](missing.md) [b](#four) [c](#one-two-three) [d](https://example.com)")
    assert list(dead_links(page)) == ["missing.md", "#four"]


def test_index_has_every_page() -> None:
    """Every page of docs/ is linked from docs/README.md, each decision from the index of decisions."""
    for folder in (DOCS, DOCS / "decisions"):
        links = LINK.findall((folder / "README.md").read_text("utf-8"))
        pages = {page.name for page in folder.glob("*.md")} - {"README.md"}
        assert pages <= {link.partition("#")[0] for link in links}


@pytest.mark.parametrize(
    ("question", "section", "answer"),
    [
        ("put it behind Caddy", "reverse-proxies.md#caddy", "reverse_proxy"),
        ("move the database", "operations/backup.md#move-the-database", "--database-only"),
        ("the outbox is growing", "operations/alerts.md#chatgptagentrowsnotshipped", "ledger status"),
        ("let a colleague only look", "console-access.md#what-a-viewer-may-see", "--role viewer"),
        ("add an endpoint", "architecture.md#how-to-add-an-endpoint", "ENDPOINTS"),
    ],
)
def test_first_page_leads_to_the_answer(question: str, section: str, answer: str) -> None:
    """One click on the first page leads to the section that says what to do."""
    [line] = [line for line in (DOCS / "README.md").read_text("utf-8").splitlines() if question in line]
    assert f"]({section})" in line
    name, _, anchor = section.partition("#")
    parts = re.split(r"^#+ (.+)$", (DOCS / name).read_text("utf-8"), flags=re.MULTILINE)
    sections = {heading.lower().replace(" ", "-"): text for heading, text in zip(parts[1::2], parts[2::2], strict=True)}
    assert answer in sections[anchor]


def test_decisions_are_numbered_in_order() -> None:
    """Decisions have the numbers from 1 on, in name and heading."""
    pages = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    assert all(page.read_text("utf-8").startswith(f"# {int(page.name[:4])}. ") for page in pages)


def test_every_key_is_documented() -> None:
    """The reference of the configuration has every key, with an explanation."""
    documented = {cells[0].strip("`"): cells[4] for cells in table_rows("docs/configuration.md") if len(cells) == 5}
    assert [field.name for field in msgspec.structs.fields(Config) if not documented.get(field.name)] == []


def test_every_error_is_documented() -> None:
    """docs/errors.md has each error of the API with its status, and no other."""
    classes: list[type[AgentError]] = [
        AgentError,
        *(kind for top in (ClientError, UpstreamError, Unavailable) for kind in leaf_classes(top)),
    ]
    rows = [cells for cells in table_rows("docs/errors.md") if re.fullmatch(r"[45]\d\d", cells[0])]
    assert {(int(cells[0]), cells[1].strip("`")) for cells in rows} == {(kind.status, kind.code) for kind in classes}


def documented_endpoints() -> tuple[set[str], set[str]]:
    """Returns the endpoints that docs/endpoints.md says are served, such as `GET /v1/models`, and those that are not:
    with a method, or paths with all that follows them."""
    served: set[str] = set()
    refused: set[str] = set()
    for cells in table_rows("docs/endpoints.md"):
        names = [name for name in re.findall("`([^`]+)`", cells[0]) if "/v1/" in name and "://" not in name]
        not_served = any(not re.match("[A-Z]+ ", name) or name == "DELETE /v1/models/{model}" for name in names)
        (refused if not_served else served).update(names)
    return served, refused


def test_every_endpoint_is_documented() -> None:
    """docs/endpoints.md has each endpoint that is served, and no other."""
    names = {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS}
    assert documented_endpoints()[0] == names | {"GET /v1/models", "GET /v1/models/{model}"}


def is_refused(name: str, refused: set[str]) -> bool:
    """Whether an endpoint of the SDK is among those that are documented as not served."""
    path = name.partition(" ")[2]
    return (
        name.replace("{}", "{model}") in refused
        or path in refused
        or any(path.startswith(f"{prefix}/") for prefix in refused)
    )


def test_every_endpoint_of_openai_is_documented() -> None:
    """docs/endpoints.md says of each endpoint of OpenAI's SDK whether it is served, and names no other."""
    served, refused = documented_endpoints()
    # The betas of stored objects differ by their query string alone, which passes.
    names = {re.sub(r"(?<=\})(/\w+)?\?beta=true$", r"\1", name) for name in kept_endpoints()[1]}
    openai_names, served_names = ({re.sub(r"\{\w+\}", "{}", name) for name in each} for each in (names, served))
    refused_names = {name for name in openai_names - served_names if is_refused(name, refused)}
    assert openai_names - served_names == refused_names
    assert served_names <= openai_names
    assert [path for path in refused if not any(is_refused(name, {path}) for name in names)] == []


def test_list_of_openais_endpoints_is_the_sdks() -> None:
    """tests/openai_endpoints.txt has the endpoints of the SDK of its version."""
    version, names = kept_endpoints()
    if version != openai.__version__:
        pytest.skip(f"the list is that of version {version}, and {openai.__version__} is installed")
    assert sdk_endpoints() == names


def test_cited_decisions_exist() -> None:
    """A decision that code or tests refer to is a page of docs/decisions/."""
    sources = [path for folder in ("chatgpt_agent", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    cited = {name for path in sources for name in re.findall(r"docs/decisions/([\w.-]+\.md)", path.read_text("utf-8"))}
    assert [name for name in cited if not (DOCS / "decisions" / name).exists()] == []


@pytest.mark.parametrize("file", [*PAGES, *EXAMPLES], ids=lambda file: str(file.relative_to(ROOT)))
def test_examples_use_models_that_last(file: Path) -> None:
    """No page, help text or example names a model that OpenAI shuts down within a year."""
    assert file in HISTORY or ENDING_MODEL.findall(file.read_text("utf-8")) == []


def test_ending_model_is_noticed() -> None:
    """The check sees a name in code, in a pattern and as a fine-tuned model's base, but not in a longer name."""
    text = "`gpt-4o` 'gpt-4*,o3' ft:gpt-4.1:acme gpt-5. gpt-5.5 gpt-4o-new xo3 o3s"
    assert ENDING_MODEL.findall(text) == ["gpt-4o", "gpt-4", "o3", "gpt-4.1", "gpt-5"]
