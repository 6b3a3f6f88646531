"""Collects the messages of use cases from the source: errors, warnings, findings. They are plain English there, because
commands and REST show them as they are; the console translates them by these templates.

A template is a text with a placeholder for each expression of an f-string: `%(name)r` where `!r` quotes it, else
`%(name)s`. Where a message has another text in it, such as a hint that a function returns, that is a template too.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "chatgpt_agent"
# What the console's use cases run through. The rest is of commands and of requests to OpenAI.
PLACES = (
    "core", "admin", "adapters/postgres", "runtime/account_limiter.py", "runtime/console_access.py",
    "runtime/failed_attempts.py", "runtime/page_brake.py", "web/body.py", "web/admin", "web/console",
)  # fmt: skip
OTHER_PLACES = (
    "core/http", "core/access/identity.py", "core/backup.py", "core/cooperative.py", "core/legacy.py",
    "admin/backup.py", "admin/backups.py", "admin/database_upgrade.py", "admin/doctor", "admin/legacy_import.py",
    "admin/master_key.py", "admin/restore.py", "admin/schema.py",
    "adapters/postgres/legacy.py", "adapters/postgres/programs.py", "adapters/postgres/targets.py",
)  # fmt: skip
OTHER_ERRORS = frozenset(
    {"SetupError", "UpstreamError", "WebhookFailed", "InvalidApiKey", "ModelNotFound", "UpgradeRequired",
     "HeadTooLarge", "HttpVersionNotSupported", "InsufficientQuota", "LedgerUnavailable", "DirectoryStale",
     "UsageUnavailable"}
)  # fmt: skip
LOGGED = frozenset({"InvalidCredentials"})  # errors whose argument is for the log alone
CHECKS = "adapters/postgres/checks.py"  # its texts are literals of SQL
PLACE = "%(place)s: %(message)s"  # a message with its place in front, such as `line 3: …`

PLACEHOLDER = re.compile(r"%\((\w+)\)([sr])")
_WORD = re.compile(r"[A-Za-z]{2}")
_SQL_TEXT = re.compile(r"'((?:[a-z%_]+ ){2}[^']*)'")
_WARN = ("warn", "_warn")

# The fields with what a value is made of.
_FIELDS: dict[type[ast.expr], tuple[str, ...]] = {
    ast.FormattedValue: ("value",), ast.Await: ("value",), ast.IfExp: ("body", "orelse"),
    ast.BoolOp: ("values",), ast.BinOp: ("left", "right"), ast.GeneratorExp: ("elt",), ast.ListComp: ("elt",),
    ast.List: ("elts",), ast.Tuple: ("elts",),
}  # fmt: skip

Function = ast.FunctionDef | ast.AsyncFunctionDef


def templates() -> set[str]:
    """Returns the templates of all messages that the console may show."""
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if _is_of_the_console(path)]
    trees = {path: ast.parse(path.read_text("utf-8")) for path in paths}
    texts = texts_of(trees) | _checks(trees[PACKAGE / CHECKS]) | {PLACE}
    by_form = {PLACEHOLDER.sub(r"%()\2", text): text for text in sorted(texts, reverse=True)}
    return set(by_form.values()) | _finding_names(trees.values())


def texts_of(trees: dict[Path, ast.Module]) -> set[str]:
    """Returns the templates of the errors, warnings and findings in these modules."""
    return _Source(trees).templates()


def _is_of_the_console(path: Path) -> bool:
    name = path.relative_to(PACKAGE).as_posix()
    return name.startswith(PLACES) and not name.startswith(OTHER_PLACES)


def _checks(tree: ast.Module) -> set[str]:
    """Returns the names of checks, and their texts, which are literals of SQL; `%%s` is an argument of `format`."""
    parts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    texts = {text for part in parts if "SELECT" in part or "format(" in part for text in _SQL_TEXT.findall(part)}
    tables = [value for node in tree.body for name, value in _assigned(node) if name == "_CHECKS"]
    names = {str(key.value) for table in tables if isinstance(table, ast.Dict) for key in table.keys
             if isinstance(key, ast.Constant)}  # fmt: skip
    return {_numbered(text) for text in texts} | names


def _finding_names(trees: Iterable[ast.Module]) -> set[str]:
    """Returns the names of checks that are no statements of SQL."""
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {str(call.args[0].value) for call in calls if _called(call) == "Finding" and call.args
            and isinstance(call.args[0], ast.Constant)}  # fmt: skip


def _numbered(text: str) -> str:
    first, *others = text.split("%%s")
    return first + "".join(f"%(value{number})s{part}" for number, part in enumerate(others, 1))


class _Source:
    """The modules, with what their messages refer to."""

    def __init__(self, trees: dict[Path, ast.Module]) -> None:
        self._trees = trees
        self._functions = defaultdict[str, list[Function]](list)
        self._calls = defaultdict[str, list[ast.Call]](list)
        self._constants = defaultdict[str, list[ast.expr]](list)  # several modules may use the same name
        classes: dict[str, ast.ClassDef] = {}
        for tree in trees.values():
            for node in ast.walk(tree):
                if isinstance(node, Function):
                    self._functions[node.name].append(node)
                elif isinstance(node, ast.ClassDef):
                    classes[node.name] = node
                elif isinstance(node, ast.Call):
                    self._calls[_called(node)].append(node)
            for name, value in chain.from_iterable(map(_assigned, tree.body)):
                self._constants[name].append(value)
        self._errors = _errors(classes)
        self._defaults = [
            value for name in self._errors for node in classes[name].body for key, value in _assigned(node)
            if key == "default"
        ]  # fmt: skip

    def templates(self) -> set[str]:
        """Returns the templates of all errors, warnings and findings."""
        texts = {text for value in self._defaults for text in self._texts(value, {}, set())}
        for tree in self._trees.values():
            texts |= {
                text for value in map(_description, ast.walk(tree)) if value for text in self._texts(value, {}, set())
            }
            for scope in ast.walk(tree):
                if isinstance(scope, Function):
                    names = self._names(scope)
                    for message in chain.from_iterable(map(self._messages, ast.walk(scope))):
                        texts |= set(self._texts(message, names, set()))
        return texts

    def _messages(self, node: ast.AST) -> list[ast.expr]:
        """Returns the messages of a call that has some."""
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name("super")), attr="__init__"), args=[first]):
                return [first]
            case ast.Call(args=[first, *_]) if _called(node) in self._errors - LOGGED:
                return [first]
            case ast.FunctionDef(args=ast.arguments(args=args, defaults=values, kwonlyargs=more, kw_defaults=others)):
                named = zip([*args[len(args) - len(values) :], *more], [*values, *others], strict=True)
                return [value for name, value in named if name.arg == "message" and value]
            case ast.Call(keywords=[*_, ast.keyword("message", value)]):
                return [value]
            case ast.Raise(exc=ast.Call(args=args) as call) if _called(call) in self._functions:
                return args  # of a function that returns an error
            case ast.Call(args=[first]) if _called(node) in _WARN:
                return [first]
            case ast.Call(args=[_, *texts]) if _called(node) in ("Finding", "Skipped"):
                return texts
        return []

    def _names(self, function: Function) -> dict[str, list[ast.expr]]:
        """Returns what each name within a function stands for: what is assigned to it, and arguments of calls."""
        names = defaultdict[str, list[ast.expr]](list)
        for node in ast.walk(function):
            for name, value in _assigned(node):
                names[name].append(value)
        parameters = [each.arg for each in function.args.args if each.arg not in ("self", "cls")]
        for call in self._calls[function.name]:
            for name, value in zip(parameters, call.args, strict=False):
                names[name].append(value)
        return names

    def _texts(self, node: ast.expr, names: dict[str, list[ast.expr]], visited: set[int]) -> Iterator[str]:
        """Yields the templates of an expression, and those of the texts within it."""
        if id(node) in visited:
            return
        visited.add(id(node))
        if (template := _template(node)) and " " in template and _WORD.search(PLACEHOLDER.sub("", template)):
            yield template
        for part in self._parts(node, names):
            yield from self._texts(part, names, visited)
        if isinstance(node, ast.Call):
            for function, value in self._returns(_called(node)):
                yield from self._texts(value, self._names(function), visited)

    def _returns(self, name: str) -> Iterator[tuple[Function, ast.expr]]:
        """Yields the functions of this name with what they return."""
        for function in self._functions[name] if name not in ("_", "translate") else ():
            for node in ast.walk(function):
                if isinstance(node, ast.Return | ast.Yield) and node.value is not None:
                    yield function, node.value

    def _parts(self, node: ast.expr, names: dict[str, list[ast.expr]]) -> list[ast.expr]:
        """Returns the expressions of which the value may be a part of that of this one."""
        match node:
            case ast.JoinedStr():
                return [part for part in node.values if isinstance(part, ast.FormattedValue)]
            case ast.Name() if node.id in names:
                return names[node.id]
            case ast.Name() if node.id in self._constants:
                return self._constants[node.id]
            case ast.Subscript(value=ast.Name(name)) if name in self._constants:
                return [
                    value for table in self._constants[name] if isinstance(table, ast.Dict) for value in table.values
                ]
            case ast.Call(func=ast.Attribute(attr="join"), args=args):
                return args
        fields = [getattr(node, name) for name in _FIELDS.get(type(node), ())]
        return [each for field in fields for each in (field if isinstance(field, list) else [field])]


def _errors(classes: dict[str, ast.ClassDef]) -> set[str]:
    """Returns the names of the errors that are shown."""
    names = {"AgentError"}
    while more := {
        name for name, node in classes.items() if names & {getattr(base, "id", "") for base in node.bases}
    } - names - OTHER_ERRORS:  # fmt: skip
        names |= more
    return names


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.Assign(targets=[ast.Name(name)], value=value):
            yield name, value
        case ast.AnnAssign(target=ast.Name(name), value=ast.expr() as value):
            yield name, value


def _called(call: ast.Call) -> str:
    """Returns the name of the function or class that is called, in a thread or here."""
    match call:
        case ast.Call(func=ast.Attribute(attr="to_thread"), args=[ast.Name(name), *_]):
            return name
    return getattr(call.func, "attr", None) or getattr(call.func, "id", None) or ""


def _description(node: ast.AST) -> ast.expr | None:
    """Returns what a field says on its values (web/admin/reading.py), or what a route of REST does."""
    match node:
        case ast.Dict():
            items = zip(node.keys, node.values, strict=True)
            return next((value for key, value in items if isinstance(key, ast.Constant) and key.value == "words"), None)
        case ast.Call() if _called(node) == "Route":
            return next((keyword.value for keyword in node.keywords if keyword.arg == "summary"), None)
    return None


def _template(node: ast.expr) -> str | None:
    """Returns the template of a string or an f-string."""
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.JoinedStr():
            parts, names = [], list[str]()
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    base = re.sub(r"\W", "", _name(part.value)).strip("_").lower() or "value"
                    names.append(base)
                    number = names.count(base)
                    parts.append(f"%({base}{number if number > 1 else ''}){'r' if part.conversion == 114 else 's'}")
                elif isinstance(part, ast.Constant):
                    parts.append(str(part.value))
            return "".join(parts)
    return None


def _name(node: ast.expr) -> str:
    """Returns a name for the value of an expression."""
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            return node.attr
        case ast.Call(func=ast.Attribute(attr="join" | "to_thread" | "get"), args=[*_, last]):
            return _name(last)
        case ast.Call(args=[first, *_]):
            return _name(first)
        case ast.Call(func=ast.Attribute(value=value)) | ast.Subscript(value=value) | ast.Await(value=value):
            return _name(value)
        case ast.BoolOp(values=[first, *_]) | ast.BinOp(left=first) | ast.IfExp(body=first):
            return _name(first)
        case ast.GeneratorExp(elt=first) | ast.ListComp(elt=first) | ast.Starred(value=first):
            return _name(first)
    return "value"
