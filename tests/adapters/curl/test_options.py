"""What libcurl must be for requests to OpenAI."""

import pytest

from chatgpt_agent.adapters.curl.options import check_libcurl
from chatgpt_agent.core.errors import SetupError


@pytest.mark.parametrize("version", ["8.23.0", "8.23.1-DEV", "8.100.0", "9.0.0"])
def test_new_libcurl_is_accepted(version: str) -> None:
    """Each from 8.23 on is, and the one that is installed."""
    check_libcurl(version)
    check_libcurl()


@pytest.mark.parametrize("version", ["8.22.0", "8.9.1", "7.88.1", "8.22.0-DEV"])
def test_old_libcurl_is_refused(version: str) -> None:
    """Older ones leak credentials around proxies."""
    with pytest.raises(SetupError, match=f"libcurl {version} is too old"):
        check_libcurl(version)
