"""Every endpoint that the official SDK calls, read from its source.

They are kept in tests/openai_endpoints.txt, so that the documentation is checked without an SDK of that version:
`python -m tests.support.sdk_endpoints` writes that file.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import openai

LIST = Path(__file__).parent.parent / "openai_endpoints.txt"
_METHODS = {
    "_get": "GET",
    "_post": "POST",
    "_put": "PUT",
    "_patch": "PATCH",
    "_delete": "DELETE",
    "_get_api_list": "GET",
}


def kept_endpoints() -> tuple[str, set[str]]:
    """Returns the version of the SDK from which the list was made, and the endpoints, such as `GET /v1/files`."""
    version, *lines = LIST.read_text("utf-8").splitlines()
    return version, set(lines)


def sdk_endpoints() -> set[str]:
    """Returns the endpoints of the installed SDK."""
    folder = Path(openai.__file__).parent / "resources"
    return {name for path in folder.rglob("*.py") for name in _called(ast.parse(path.read_text("utf-8")))}


def _called(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS:
            path = node.args[0]
            if isinstance(path, ast.Call):  # path_template("/files/{file_id}", file_id=file_id)
                path = path.args[0]
            arguments = {keyword.arg: keyword.value for keyword in node.keywords}
            method = ast.literal_eval(arguments["method"]) if "method" in arguments else _METHODS[node.func.attr]
            yield f"{method.upper()} /v1{ast.literal_eval(path)}"


if __name__ == "__main__":
    names = sorted(sdk_endpoints(), key=lambda name: name.split()[::-1])
    LIST.write_text("\n".join([openai.__version__, *names, ""]), "utf-8")
