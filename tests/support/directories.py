"""What tests of the directory share."""

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.core.errors import InvalidApiKey
from chatgpt_agent.runtime.directory import Directory

KEYRING = Keyring(b"m" * 32)
STALE_AFTER = 300.0  # seconds


def works(directory: Directory, token: str) -> bool:
    """Whether a token is accepted."""
    try:
        directory.identify(token)
    except InvalidApiKey:
        return False
    return True
