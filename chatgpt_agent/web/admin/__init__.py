"""REST for administrators: one route table, from which the handlers, the OpenAPI document and the tests come."""
