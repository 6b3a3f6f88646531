"""The fences between the layers, kept by reading every import of the package."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import chatgpt_agent

PACKAGE = Path(chatgpt_agent.__file__).parent

LAYERS = [
    "core",
    "adapters",
    "runtime",
    "admin",
    "web",
    "process",
    "server",
    "cli",
]  # each may import itself and those before it
PURE = {"collections", "datetime", "decimal", "enum", "functools", "ipaddress", "itertools", "math", "operator", "re"}
PURE |= {"csv", "io", "typing", "uuid", "zlib", "msgspec"}  # all that core may import
IMPURE = {"now", "utcnow", "today", "uuid1", "uuid4", "open", "print", "input", "__import__"}  # what is in reach anyway
ONLY_IN = {  # who alone may know a technology
    "psycopg2": ("adapters.postgres", "adapters.migrate"),
    "aiopg": ("adapters.postgres", "adapters.migrate"),
    "pycurl": ("adapters.curl",),
    "tornado.curl_httpclient": ("adapters.curl",),
    "sqlite3": ("adapters.outbox",),
    "yoyo": ("adapters.migrate",),
    "yaml": ("adapters.config_file",),
    "cryptography": ("adapters.keyring",),
}


def within(module: str, *parents: str) -> bool:
    return any(f"{module}.".startswith(f"{parent}.") for parent in parents)


def imports(source: str) -> Iterator[str]:
    """Every name that a source imports, wherever in it; `from a import b` counts as `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def breaches(module: str, source: str) -> list[str]:
    """The imports with which a module (its name without the package's) breaks through a fence."""
    layer = module.partition(".")[0]
    above = LAYERS[LAYERS.index(layer) + 1 :] if layer in LAYERS else []
    found = []
    for name in imports(source):
        inside = name.removeprefix("chatgpt_agent.")
        strange = layer == "core" and inside == name and name.partition(".")[0] not in PURE
        foreign = any(within(name, what) and not within(module, *where) for what, where in ONLY_IN.items())
        if strange or foreign or name.startswith(".") or (inside != name and within(inside, *above)):
            found.append(f"{module} imports {name}")
    return found


def modules() -> list[tuple[str, Path]]:
    names = [
        (path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."), path) for path in PACKAGE.rglob("*.py")
    ]
    return [(name.removesuffix(".__init__"), path) for name, path in names]


def test_imports_go_down_only() -> None:
    """No module imports a layer above it, a technology of another's, or, in core, anything with a side effect."""
    assert [breach for name, path in modules() for breach in breaches(name, path.read_text())] == []


def test_every_module_is_in_a_layer() -> None:
    """Each file of the package is fenced in, but for the package itself and its `__main__`."""
    outside = {name for name, _ in modules() if name.partition(".")[0] not in LAYERS}
    assert outside == {"__init__", "__main__"}
    assert {name.partition(".")[0] for name, _ in modules()} >= set(LAYERS)


def impure(source: str) -> set[str]:
    """The calls in a source that would read a clock, draw a random number or touch the world."""
    called = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return IMPURE & {getattr(what, "attr", getattr(what, "id", "")) for what in called}


def test_core_asks_no_clock_and_opens_nothing() -> None:
    """Core gets times, random bytes and texts from its callers."""
    found = {name: impure(path.read_text()) for name, path in modules() if within(name, "core")}
    assert {name: calls for name, calls in found.items() if calls} == {}


def test_impure_name_is_found() -> None:
    """A clock that is asked through an import which core may make is told."""
    assert impure("from datetime import datetime\ndatetime.now()\nprint(1)") == {"now", "print"}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("core.usage", "import asyncio"),
        ("core.usage", "import os.path"),
        ("core.usage", "from time import time"),
        ("core.usage", "from tornado import web"),
        ("core.usage", "def f():\n    import random"),
        ("core.usage", "from chatgpt_agent.adapters.config import Config"),
        ("core.usage", "from chatgpt_agent import adapters"),
        ("core.usage", "from . import errors"),
        ("adapters.config", "import chatgpt_agent.runtime.ledger"),
        ("adapters.config", "if True:\n    from chatgpt_agent.server import main"),
        ("adapters.config", "import psycopg2.extensions"),
        ("adapters.postgresql", "import aiopg"),
        ("adapters.config", "import aiopg"),
        ("runtime.ledger", "import sqlite3"),
        ("runtime.ledger", "from tornado.curl_httpclient import CurlAsyncHTTPClient"),
        ("runtime.ledger", "from tornado import curl_httpclient"),
        ("runtime.ledger", "import pycurl as curl"),
        ("runtime.ledger", "from chatgpt_agent.web import base"),
        ("web.app", "from chatgpt_agent import server"),
        ("server", "from chatgpt_agent import __version__, cli"),
    ],
)
def test_breach_is_found(module: str, source: str) -> None:
    """An import through a fence is told, however it is written."""
    assert len(breaches(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "core.usage",
            "from collections.abc import Iterable\nimport zlib, msgspec\nfrom chatgpt_agent.core import sse",
        ),
        ("adapters.postgres.usage", "import psycopg2, aiopg\nfrom chatgpt_agent.adapters.config import Config"),
        ("adapters.curl", "import pycurl\nfrom tornado.curl_httpclient import CurlError"),
        (
            "runtime.relay",
            "import asyncio\nfrom chatgpt_agent import __version__\nfrom chatgpt_agent.core import errors",
        ),
        ("server", "from chatgpt_agent.web.app import api_app"),
        ("cli.main", "from chatgpt_agent import __version__, server"),
        ("__main__", "from chatgpt_agent.cli.main import main"),
    ],
)
def test_import_downwards_is_no_breach(module: str, source: str) -> None:
    """What a layer is for is not told."""
    assert breaches(module, source) == []
