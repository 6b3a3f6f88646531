"""chatgpt-agent: a self-hosted gateway that lets a team share the OpenAI API, with books that are right."""

__version__ = "0.1.0"
