"""The OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.1), made from the route table."""

import re
from typing import Any

import msgspec

from chatgpt_agent import __version__
from chatgpt_agent.web.admin.routing import CSV_FILE, Route
from chatgpt_agent.web.admin.schemas import Failure

_REF = "#/components/schemas/{name}"
_ETAG = {"ETag": {"description": "For If-None-Match and If-Match.", "schema": {"type": "string"}}}
_CSV = {"text/csv": {"schema": CSV_FILE["text/csv"]}}
# Every route lists every status: a client handles them alike.
_FAILURES = {
    400: "The request does not match this document.",
    401: "The token is missing or does not work here.",
    403: "Viewers have read-only access, and pages of another origin have none.",
    404: "Not found.",
    409: "Conflict with the present state: for example, the object exists already.",
    412: "Changed since it was read: nothing was done.",
    413: "The body is too large.",
    415: "The body has an unsupported media type, or is compressed.",
    422: "The request matches this document but breaks a rule.",
    429: "Too many wrong tokens from this address.",
    503: "The database is unavailable, or the agent is stopping.",
}


def document(routes: list[Route], prefix: str) -> dict[str, Any]:
    """Returns the document of these routes."""
    kinds = [kind for route in routes for kind in (route.answer, route.body) if kind not in (None, bytes)]
    _, schemas = msgspec.json.schema_components([*kinds, Failure], ref_template=_REF)
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = _in_json(schema["description"])
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(prefix + route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "chatgpt-agent administration", "version": __version__, "license": {"name": "MIT"}},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "`cgm_…`"}},
        },
    }


def _in_json(docstring: str) -> str:
    """Returns a docstring without the line breaks and the indentation of its source, in the words of JSON."""
    return re.sub(r"\bNone\b", "null", " ".join(docstring.split()))


def _operation(route: Route) -> dict[str, Any]:
    parameters = [*_parameters(route.path_params, "path"), *_parameters(route.query, "query"), *_conditions(route)]
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": parameters,
        "responses": {str(status): response for status, response in _responses(route).items()},
    }
    if route.body is not None:
        files = {media_type: {"schema": schema} for media_type, schema in route.files.items()}
        operation["requestBody"] = {"required": True, "content": files or _content(route.body)}
    return operation


def _parameters(kind: type[msgspec.Struct], place: str) -> list[dict[str, Any]]:
    """Returns a parameter for each field. Their schemas are single values, which need no components."""
    _, components = msgspec.json.schema_components([kind], ref_template=_REF)
    schema = components[kind.__name__]
    required = schema.get("required", ())
    return [
        {"name": name, "in": place, "required": name in required, "schema": value}
        for name, value in schema["properties"].items()
    ]


def _conditions(route: Route) -> list[dict[str, Any]]:
    if route.conditional:
        text = "The ETag that the object must have; otherwise 412, and nothing is changed."
        schema = {"type": "string", "pattern": '^"[0-9]{1,18}(-[0-9a-f]{8})?"$'}
        return [{"name": "If-Match", "in": "header", "description": text, "schema": schema}]
    if route.has_etag and not route.changes:
        text = "Known ETags: 304 if the object has one of them."
        return [{"name": "If-None-Match", "in": "header", "description": text, "schema": {"type": "string"}}]
    return []


def _responses(route: Route) -> dict[int, dict[str, Any]]:
    success: dict[str, Any] = {"description": "No content." if route.answer is None else "OK."}
    if route.answer is not None:
        success["content"] = _CSV if route.answer is bytes else _content(route.answer)
    if route.has_etag:
        success["headers"] = _ETAG
    responses = {route.status: success}
    if route.has_etag and not route.changes:
        responses[304] = {"description": "Not modified.", "headers": _ETAG}
    failures = {status: {"description": text, "content": _content(Failure)} for status, text in _FAILURES.items()}
    return responses | failures


def _content(kind: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return {"application/json": {"schema": schema}}
