"""Requests to OpenAI and their answers: the one place that knows curl."""
