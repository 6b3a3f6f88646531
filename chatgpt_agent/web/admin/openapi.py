"""The OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.1), made out of the route table."""

from typing import Any

import msgspec

from chatgpt_agent import __version__
from chatgpt_agent.web.admin.response_schemas import Failure
from chatgpt_agent.web.admin.routing import Route

_REF = "#/components/schemas/{name}"
_ETAG = {"ETag": {"description": "For If-None-Match and If-Match.", "schema": {"type": "string"}}}
CSV: dict[str, Any] = {"text/csv": {"schema": {"type": "string"}}}
_FAILURES = {
    400: "The request is not as this document says.",
    401: "No token, or one that does not work here.",
    403: "A viewer changes nothing, and a browser's page of another origin does nothing.",
    404: "There is no such thing.",
    409: "There is one already, or it is in no state for it.",
    412: "It has been changed since: nothing was done.",
    413: "The body is too large.",
    415: "The body is of no kind that is taken here.",
    422: "The request is as this document says, and a rule forbids it.",
    429: "Too many wrong tokens came from this address.",
    503: "The database is away, or the agent is being stopped.",
}


def document(routes: list[Route], prefix: str) -> dict[str, Any]:
    """The document of these routes."""
    kinds = [kind for route in routes for kind in (route.answer, route.body) if kind not in (None, bytes)]
    _, schemas = msgspec.json.schema_components([*kinds, Failure], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(prefix + route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "chatgpt-agent, for administrators", "version": __version__, "license": {"name": "MIT"}},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "`cgm_…`"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.does.__name__,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [*_parameters(route.of, "path"), *_parameters(route.query, "query"), *_conditions(route)],
        "responses": {str(status): answer for status, answer in _responses(route).items()},
    }
    if route.body is not None:
        content = {kind: {"schema": schema} for kind, schema in route.files.items()}
        operation["requestBody"] = {
            "required": True,
            "content": content if route.body is bytes else _content(route.body),
        }
    return operation


def _parameters(of: type[msgspec.Struct], where: str) -> list[dict[str, Any]]:
    """A parameter for each field; the schemas of single values need no components."""
    _, components = msgspec.json.schema_components([of], ref_template=_REF)
    found = components[of.__name__]
    return [
        {"name": name, "in": where, "required": name in found.get("required", ()), "schema": schema}
        for name, schema in found["properties"].items()
    ]


def _conditions(route: Route) -> list[dict[str, Any]]:
    if route.conditional:
        described = "The ETag that it must still have: else 412, and nothing is changed."
        schema = {"type": "string", "pattern": '^"[0-9]{1,18}(-[0-9a-f]{8})?"$'}
        return [{"name": "If-Match", "in": "header", "description": described, "schema": schema}]
    if route.tagged and not route.changes:
        described = "ETags that are known: 304 where it still has one of them."
        return [{"name": "If-None-Match", "in": "header", "description": described, "schema": {"type": "string"}}]
    return []


def _responses(route: Route) -> dict[int, dict[str, Any]]:
    good: dict[str, Any] = {"description": "Done." if route.answer is None else "Here it is."}
    if route.answer is not None:
        good["content"] = CSV if route.answer is bytes else _content(route.answer)
    if route.tagged:
        good["headers"] = _ETAG
    found = {route.status: good}
    if route.tagged and not route.changes:
        found[304] = {"description": "It is as it was.", "headers": _ETAG}
    statuses = {400, 401, 422, 429, 503, 403, 413}
    statuses |= {404} if "{" in route.path or "user" in route.query.__struct_fields__ or route.names_others else set()
    statuses |= {415} if route.body else set()
    statuses |= {409} if route.conflicts else set()
    statuses |= {412} if route.conditional else set()
    for status in sorted(statuses):
        found[status] = {"description": _FAILURES[status], "content": _content(Failure)}
    return found


def _content(kind: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return {"application/json": {"schema": schema}}
