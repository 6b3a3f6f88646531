"""The fences between the layers, kept by reading every import of the package."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import chatgpt_agent

PACKAGE = Path(chatgpt_agent.__file__).parent

# What each layer may import, beside itself.
BELOW_FACES = ("core", "adapters.config", "adapters.config_loading", "adapters.logs", "runtime", "admin")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "core": (),
    "adapters": ("core",),
    "runtime": ("core", "adapters"),
    "admin": ("core", "adapters", "runtime"),
    "web": BELOW_FACES,
    "cli": BELOW_FACES,
    "process": ("core",),
    "wiring": ("core", "adapters", "runtime", "admin", "web"),
    "listening": ("core", "adapters", "runtime", "web"),
    "server": ("core", "adapters", "runtime", "web", "process", "wiring", "listening"),
    "demo": ("core", "adapters", "runtime", "admin", "web", "process", "server"),
}
ENTRY_POINTS = {("cli.main", "server"), ("cli.demo", "demo")}  # the commands `serve` and `demo`
PURE = {"collections", "datetime", "decimal", "enum", "functools", "ipaddress", "itertools", "math", "operator", "re"}
PURE |= {"csv", "difflib", "io", "json", "typing", "unicodedata", "uuid", "zlib", "msgspec"}  # all that core may import
IMPURE = {"now", "utcnow", "today", "uuid1", "uuid4", "open", "print", "input", "__import__"}  # builtins and methods
ONLY_IN = {  # the modules that may import a technology
    "psycopg2": ("adapters.postgres", "adapters.migrate"),
    "aiopg": ("adapters.postgres", "adapters.migrate"),
    "pycurl": ("adapters.curl",),
    "tornado.curl_httpclient": ("adapters.curl",),
    "sqlite3": (
        "adapters.outbox",
        "adapters.outbox_copy",
        "adapters.outbox_faults",
        "adapters.outbox_format",
        "adapters.outbox_rows",
        "adapters.outbox_space",
    ),
    "yoyo": ("adapters.migrate",),
    "yaml": ("adapters.config_file",),
    "cryptography": ("adapters.keyring", "adapters.sealed_key", "adapters.tls"),
    "argon2": ("adapters.passwords",),
    "opentelemetry": ("adapters.otel",),
    "prometheus_client": ("web.exposition",),
}


def within(module: str, *parents: str) -> bool:
    return any(f"{module}.".startswith(f"{parent}.") for parent in parents)


def imports(source: str) -> Iterator[str]:
    """Yields every name that a source imports, at any depth; `from a import b` counts as `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def breaches(module: str, source: str) -> list[str]:
    """Returns the imports of a module (named without the package) that cross a fence."""
    return [f"{module} imports {name}" for name in imports(source) if not may_import(module, name)]


def may_import(module: str, name: str) -> bool:
    layer = module.partition(".")[0]
    inside = name.removeprefix("chatgpt_agent.")
    if name.startswith("."):
        return False
    if inside == name:
        permitted = layer != "core" or name.partition(".")[0] in PURE
        return permitted and all(
            within(module, *users) for technology, users in ONLY_IN.items() if within(name, technology)
        )
    if layer not in MAY_IMPORT or inside == "__version__" or (module, inside.partition(".")[0]) in ENTRY_POINTS:
        return True
    return within(inside, layer, *MAY_IMPORT[layer])


def modules() -> list[tuple[str, Path]]:
    names = [
        (path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."), path) for path in PACKAGE.rglob("*.py")
    ]
    return [(name.removesuffix(".__init__"), path) for name, path in names]


def test_imports_stay_within_the_fences() -> None:
    """No module imports a layer that it may not know, another's technology, or, in core, a side effect."""
    crossed = {name: breaches(name, path.read_text()) for name, path in modules()}
    assert {name: lines for name, lines in crossed.items() if lines} == {}


def test_every_module_is_in_a_layer() -> None:
    """Only the package itself and its `__main__` are in no layer."""
    outside = {name for name, _ in modules() if name.partition(".")[0] not in MAY_IMPORT}
    assert outside == {"__init__", "__main__"}
    assert {name.partition(".")[0] for name, _ in modules()} >= set(MAY_IMPORT)


def impure(source: str) -> set[str]:
    """Returns the calls in a source that read a clock, draw a random number or have another side effect."""
    functions = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return IMPURE & {getattr(function, "attr", getattr(function, "id", "")) for function in functions}


def test_core_reads_no_clock_and_opens_no_file() -> None:
    """Core gets times, random bytes and texts from its callers."""
    calls = {name: impure(path.read_text()) for name, path in modules() if within(name, "core")}
    assert {name: names for name, names in calls.items() if names} == {}


def test_impure_call_is_detected() -> None:
    """The check sees a clock that is read through a permitted import."""
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
        ("runtime.ledger", "from chatgpt_agent.admin import users"),
        ("admin.users", "from chatgpt_agent.web.admin import users"),
        ("admin.users", "from chatgpt_agent.cli import user"),
        ("web.app", "from chatgpt_agent import server"),
        ("web.app", "from chatgpt_agent.cli import user"),
        ("web.admin.users", "from chatgpt_agent.adapters.postgres.users import UserRow"),
        ("web.admin.users", "from chatgpt_agent import adapters"),
        ("cli.user", "from chatgpt_agent.adapters.postgres import users"),
        ("cli.user", "def f():\n    import chatgpt_agent.adapters.keyring"),
        ("cli.user", "from chatgpt_agent.adapters import config_file"),
        ("cli.user", "from chatgpt_agent import server"),
        ("cli.user", "from chatgpt_agent.web.admin.users import ROUTES"),
        ("cli.main", "from chatgpt_agent.web import app"),
        ("cli.main", "from chatgpt_agent.demo import run"),
        ("server", "from chatgpt_agent.demo import run"),
        ("process", "from chatgpt_agent.web import app"),
        ("server", "from chatgpt_agent import __version__, cli"),
    ],
)
def test_breach_is_detected(module: str, source: str) -> None:
    """The check sees an import through a fence, however it is written."""
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
        ("admin.users", "from chatgpt_agent.adapters.postgres import users"),
        ("web.admin.users", "from chatgpt_agent.admin.users import UserRow"),
        ("cli.common", "from chatgpt_agent.adapters.config import Config\nfrom chatgpt_agent.adapters import logs"),
        ("server", "from chatgpt_agent.web.app import api_app\nfrom chatgpt_agent import process"),
        ("cli.main", "from chatgpt_agent import __version__, server"),
        ("__main__", "from chatgpt_agent.cli.main import main"),
    ],
)
def test_import_downwards_is_permitted(module: str, source: str) -> None:
    """The check accepts imports from lower layers."""
    assert breaches(module, source) == []
