"""chatgpt-agent: a self-hosted gateway that lets a team share the OpenAI API, with an exact ledger."""

__version__ = "0.2.0.dev0"
