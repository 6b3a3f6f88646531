"""Wrong passwords: each name makes guesses slow, and no name is locked. Addresses are in test_authentication.py."""

from ipaddress import ip_address

import pytest

from chatgpt_agent.core.errors import RateLimited
from chatgpt_agent.runtime.failed_attempts import (
    BURST,
    FORGET,
    FREE,
    LONGEST_WAIT,
    MAX_NAMES,
    FailedAttempts,
    WrongPasswords,
)
from tests.support.clock import Clock

HOME, ELSEWHERE = ip_address("192.0.2.7"), ip_address("203.0.113.9")


@pytest.fixture
def wrong(clock: Clock) -> WrongPasswords:
    """An empty count."""
    return WrongPasswords(clock)


def guess(wrong: WrongPasswords, times: int = 1, name: str = "carol") -> float:
    """Makes wrong guesses from elsewhere; returns how long the last one has to wait."""
    wait = 0.0
    for _ in range(times):
        try:
            wrong.begin(name, ELSEWHERE)
            wait = 0.0
        except RateLimited as error:
            wait = error.retry_after
    return wait


def test_wait_doubles_up_to_a_quarter_of_an_hour(wrong: WrongPasswords, clock: Clock) -> None:
    """Five guesses are free; a refused one does not prolong the wait."""
    assert guess(wrong, FREE) == 0
    waits = []
    for _ in range(12):
        waits.append(guess(wrong, 3))
        clock.now += waits[-1]
        assert guess(wrong) == 0
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, LONGEST_WAIT, LONGEST_WAIT]


def test_count_ends_with_the_right_password(wrong: WrongPasswords) -> None:
    """The next wrong ones are free again."""
    guess(wrong, FREE - 1)
    wrong.succeed("carol", ELSEWHERE)
    assert guess(wrong, FREE) == 0


def test_count_is_forgotten_after_an_hour(wrong: WrongPasswords, clock: Clock) -> None:
    """A typing error does not wait because of guesses a day before."""
    guess(wrong, FREE)
    clock.now += FORGET + 2
    assert guess(wrong, FREE) == 0
    assert guess(wrong) == 1


def test_admin_is_not_kept_out_by_guesses_elsewhere(wrong: WrongPasswords) -> None:
    """An address from which the right password has come does not wait."""
    wrong.succeed("carol", HOME)
    assert guess(wrong, 1000) > 0
    wrong.begin("carol", HOME)


def test_address_is_trusted_for_its_own_name_only(wrong: WrongPasswords) -> None:
    """Another admin's address waits as any other."""
    wrong.succeed("vera", ELSEWHERE)
    assert guess(wrong, FREE + 1) == 1


def test_names_are_counted_apart(wrong: WrongPasswords) -> None:
    """Names that no admin has are counted, too."""
    guess(wrong, 100)
    assert guess(wrong, FREE, name="no such admin") == 0
    assert guess(wrong, name="no such admin") == 1


def test_memory_stays_bounded(wrong: WrongPasswords) -> None:
    """The name that was tried longest ago is forgotten first."""
    guess(wrong, FREE)
    for number in range(MAX_NAMES + 10):
        wrong.begin(f"name {number}", ELSEWHERE)
    assert len(wrong) == MAX_NAMES
    assert guess(wrong, FREE) == 0


def test_attempt_that_has_not_failed_does_not_count(clock: Clock) -> None:
    """An office whose admins sign in one after the other is not refused."""
    attempts = FailedAttempts(clock)
    for _ in range(3 * BURST):
        attempts.record(HOME)
        attempts.take_back(HOME)
    for _ in range(BURST):
        attempts.record(HOME)
    with pytest.raises(RateLimited):
        attempts.record(HOME)
