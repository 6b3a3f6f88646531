"""The rules for the values of settings."""

from datetime import datetime

import pytest

from chatgpt_agent.core.access.settings import (
    MAX_KEY,
    NewUser,
    TokenSettings,
    UserChanges,
    check_openai_key,
    check_settings,
)
from chatgpt_agent.core.errors import InvalidValue


@pytest.mark.parametrize("key", ["", "sk canary", "sk-canary\n", "sk-canaré", "sk-canary\0", "canary" * MAX_KEY])
def test_invalid_key_is_rejected_and_not_repeated(key: str) -> None:
    """The error may be logged."""
    with pytest.raises(InvalidValue, match="the OpenAI key must be 1 to 512 printable ASCII") as caught:
        check_openai_key(key)
    assert "canar" not in str(caught.value)


@pytest.mark.parametrize("key", ["k", "k" * MAX_KEY, "Key:with/all+signs=%"])
def test_key_of_another_form_is_accepted(key: str) -> None:
    """Keys of other vendors do not begin with sk-."""
    check_openai_key(key)


def test_representation_of_a_new_user_has_no_key() -> None:
    """It may be logged."""
    assert repr(NewUser(name="alice", openai_key="sk-canary")) == "NewUser('alice')"


@pytest.mark.parametrize(
    "settings",
    [
        UserChanges(comment="a\nb"),
        UserChanges(allowed_models=()),
        UserChanges(allowed_models=("",)),
        UserChanges(rpm=0),
        UserChanges(tpm=-1),
        UserChanges(concurrency=10**20),
        TokenSettings(label="a\tb"),
        TokenSettings(allowed_networks=("10.0.0.0/33",)),
        TokenSettings(allowed_networks=()),
        TokenSettings(expires_at=datetime(2099, 1, 1)),
    ],
)
def test_invalid_setting_is_rejected(settings: UserChanges | TokenSettings) -> None:
    """The check needs no database."""
    with pytest.raises(InvalidValue):
        check_settings(settings)
