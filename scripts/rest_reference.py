"""The generated part of docs/rest.md: routes and objects of the REST API, from its OpenAPI document."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from chatgpt_agent.web.admin.routes import PREFIX, ROUTES, openapi

Schema = dict[str, Any]
Table = Callable[[str, Iterable[list[str]]], str]
MARKER = "#/components/schemas/"
FAILURES = {"Failure", "ErrorBody"}  # every route has them; docs/errors.md explains them


def rest(table: Table) -> str:
    """A section for each route, by subject, then one for each object. `table` makes a table of Markdown."""
    document = openapi()
    parts = list[str]()
    for tag in dict.fromkeys(route.tag for route in ROUTES):
        parts.append(f"## {tag.capitalize()}")
        for route in ROUTES:
            if route.tag == tag:
                parts += operation(route, document["paths"][PREFIX + route.path][route.method.lower()], table)
    parts.append("## Objects")
    schemas = document["components"]["schemas"]
    for name, schema in sorted(schemas.items(), key=lambda item: title(item[0])):
        if name not in FAILURES:
            parts += described(name, schema, table)
    return "\n\n".join(parts)


def operation(route: Any, content: Schema, table: Table) -> Iterator[str]:
    """What one route takes and answers."""
    yield f"### {route.method} {route.path}"
    yield f"{content['summary']}. {'Open to viewers.' if route.for_viewers else 'For admins only.'}"
    rows = [
        [f"`{each['name']}`", each["in"], of_parameter(each), described_parameter(each)]
        for each in content["parameters"]
    ]
    if rows:
        yield table("Parameter | In | Type | Meaning", rows)
    body = content.get("requestBody", {}).get("content", {})
    answer = {
        status: each.get("content", {}) for status, each in content["responses"].items() if status.startswith("2")
    }
    sentences = [f"Body: {media(body)}."] if body else []
    sentences += [f"Answer: {status}{', ' if each else ''}{media(each)}." for status, each in answer.items()]
    yield " ".join(sentences)


def of_parameter(parameter: Schema) -> str:
    """The type of a parameter, and whether it may be missing."""
    return kind(parameter["schema"]) + ("" if parameter.get("required") else ", optional")


def described_parameter(parameter: Schema) -> str:
    schema = parameter["schema"]
    texts = [parameter.get("description") or schema.get("description") or schema.get("items", {}).get("description")]
    if schema.get("default") not in (None, [], False):
        texts.append(f"Default: `{schema['default']}`.")
    return " ".join(filter(None, texts))


def described(name: str, schema: Schema, table: Table) -> Iterator[str]:
    """An object with its fields, or the values of an enumeration."""
    yield f"### {title(name)}"
    if text := schema.get("description"):
        yield text
    required = schema.get("required", ())
    if "enum" in schema:
        yield f"One of {', '.join(f'`{value}`' for value in schema['enum'])}."
        return
    rows = [
        [f"`{field}`", kind(value) + ("" if field in required else ", optional"), meaning(value)]
        for field, value in schema.get("properties", {}).items()
    ]
    if any(row[-1] for row in rows):
        yield table("Field | Type | Meaning", rows)
    elif rows:
        yield table("Field | Type", (row[:-1] for row in rows))


def meaning(schema: Schema) -> str:
    """The description of a value, also of the one that may be null."""
    choices = [schema, *schema.get("anyOf", ()), schema.get("items", {})]
    return next((choice["description"] for choice in choices if "description" in choice), "")


def kind(schema: Schema) -> str:
    """The type of a value: its name, the values of an enumeration, or the range of a number."""
    if "$ref" in schema:
        name = title(schema["$ref"].removeprefix(MARKER))
        return f"[{name}](#{anchor(name)})"
    if "anyOf" in schema:
        return " or ".join(kind(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    match schema.get("type"):
        case "array":
            return f"list of {kind(schema['items'])}"
        case "integer" if "minimum" in schema and "maximum" in schema:
            return f"integer, {schema['minimum']} to {schema['maximum']}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"object of {kind(schema['additionalProperties'])}"
        case "string":
            return str(schema.get("format", "string")).replace("date-time", "time")
        case str(name):
            return name
    return "any value"


def media(content: Schema) -> str:
    """The types of a body, with its object if it is JSON."""
    return " or ".join(
        kind(each["schema"]) if "$ref" in each.get("schema", {}) else f"`{name}`" for name, each in content.items()
    )


def title(name: str) -> str:
    """The name of an object as a reader needs it: `Page of UserRow`, `checks.Finding`."""
    if page := re.fullmatch(r"Page_(\w+)_", name):
        return f"Page of {page[1]}"
    return ".".join(name.split(".")[-2:])


def anchor(name: str) -> str:
    """The anchor of the heading of an object."""
    return re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-")
