"""Failed attempts to be let in, counted in memory: by address, and by the name of an admin. What is counted is bounded,
and forgotten with the process."""

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from chatgpt_agent.core.access.networks import Address, rate_limit_key
from chatgpt_agent.core.errors import RateLimited

BURST = 10  # attempts that an address may make at once
INTERVAL = 6.0  # seconds until it may make one more: ten a minute
MAX_ADDRESSES = 10_000  # that are counted, about 2 MB
WRONG_KEYS = "Too many wrong API keys came from your address. Wait, and try again."

FREE = 5  # wrong passwords of one name before the first wait
LONGEST_WAIT = 900.0  # seconds; the first wait is one second, each further one twice as long
FORGET = 3600.0  # seconds after a wait, if no wrong password came in them
MAX_NAMES = 10_000  # that are counted
TRUSTED_ADDRESSES = 8  # of one name, from which its password has come


class FailedAttempts:
    """Counts attempts by address: `burst` at once, then one in INTERVAL. When there are too many addresses, the one
    that was quiet for longest is forgotten.

    The generic cell rate algorithm (ITU-T I.371): for each address the time at which its count is back at zero. A
    refused attempt does not postpone it."""

    def __init__(self, clock: Callable[[], float], burst: int = BURST, message: str = WRONG_KEYS) -> None:
        self._clock = clock
        self._tolerance = (burst - 1) * INTERVAL
        self._message = message
        self._zero_at: OrderedDict[int, float] = OrderedDict()

    def __len__(self) -> int:
        """The number of addresses that are counted."""
        return len(self._zero_at)

    def record(self, address: Address) -> None:
        """Records an attempt. Raises RateLimited if it is one too many."""
        now, key = self._clock(), rate_limit_key(address)
        zero_at = max(self._zero_at.pop(key, now), now)
        wait = zero_at - now - self._tolerance
        self._zero_at[key] = zero_at if wait > 0 else zero_at + INTERVAL
        if len(self._zero_at) > MAX_ADDRESSES:
            self._zero_at.popitem(last=False)
        if wait > 0:
            raise RateLimited(self._message, retry_after=wait)

    def take_back(self, address: Address) -> None:
        """Removes an attempt from the count: it has not failed."""
        key = rate_limit_key(address)
        if key in self._zero_at:
            self._zero_at[key] -= INTERVAL


class _Name(msgspec.Struct):
    """Wrong passwords in a row, when the next one is checked, and where right ones came from."""

    failed: int = 0
    next_at: float = 0.0
    trusted: list[int] = msgspec.field(default_factory=list)


class WrongPasswords:
    """Makes guesses at the password of one name slow, from however many addresses they come: after FREE wrong ones in a
    row, the next is checked only after a wait, which doubles each time up to LONGEST_WAIT.

    No name is ever locked: the wait is short, and an address from which the right password has come before does not
    wait, so that guesses elsewhere do not keep an admin out. That address has its own limit, `FailedAttempts`. Names
    that no admin has are counted, too, so that a wait does not tell which names exist."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._names: OrderedDict[str, _Name] = OrderedDict()

    def __len__(self) -> int:
        """The number of names that are counted."""
        return len(self._names)

    def begin(self, name: str, address: Address) -> None:
        """Counts an attempt as failed before its password is checked: many at once must not all be checked. Raises
        RateLimited where it must wait."""
        now, entry = self._clock(), self._names.get(name) or _Name()
        self._names[name] = entry
        self._names.move_to_end(name)
        if len(self._names) > MAX_NAMES:
            self._names.popitem(last=False)
        if rate_limit_key(address) in entry.trusted:
            return
        if entry.next_at > now:
            raise RateLimited(
                "Too many wrong passwords were tried for this name. Wait, and try again.",
                retry_after=entry.next_at - now,
            )
        if entry.next_at and now - entry.next_at > FORGET:
            entry.failed, entry.next_at = 0, 0.0
        entry.failed += 1
        if entry.failed >= FREE:
            entry.next_at = now + min(2.0 ** min(entry.failed - FREE, 30), LONGEST_WAIT)

    def succeed(self, name: str, address: Address) -> None:
        """Ends the count of a name, whose password was right, and remembers the address."""
        key = rate_limit_key(address)
        entry = self._names.setdefault(name, _Name())
        others = [each for each in entry.trusted if each != key]
        self._names[name] = _Name(trusted=[key, *others][:TRUSTED_ADDRESSES])
