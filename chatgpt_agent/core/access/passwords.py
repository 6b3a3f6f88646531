"""The rules for admins' passwords, by NIST SP 800-63B §3.1.1.2: a minimum length, a list of those that are guessed
first, and no rules about kinds of characters."""

import unicodedata

from chatgpt_agent.core.errors import InvalidValue

MIN_PASSWORD = 12  # characters
MAX_PASSWORD = 256

# Long enough, and still among the first that are tried; words of this program, too.
_COMMON_TEXT = """
    123456789012 1234567890123 12345678901234 123456789abc 012345678910 123123123456 1q2w3e4r5t6y 1qaz2wsx3edc
    1qazxsw23edc 1q2w3e4r5t6y7u 1qaz2wsx3edc4rfv qwertyuiop12 qwertyuiop123 qwertyuiop[] qwertyuiopasdf
    qwerty123456 qwerty1234567 qwerty12345678 qwertyuiopasdfghjkl asdfghjkl123 zxcvbnm12345 abcdefghijkl
    abcdefghijklm abcdefg12345 abc123456789 abcd12345678 a1b2c3d4e5f6 password1234 password12345 password123456
    passw0rd1234 p@ssw0rd1234 mypassword123 mypassword12 changeme1234 changeme12345 letmein12345 welcome12345
    welcome123456 iloveyou1234 iloveyou12345 iloveyouforever administrator administrator1 administrator123
    admin1234567 admin12345678 admin123456789 adminadmin12 rootroot1234 correcthorsebatterystaple chatgpt-agent
    chatgptagent chatgpt-agent1 chatgpt12345 openai123456 openaiopenai1 trustno1trustno1 superman1234
    princess1234 football1234 baseball1234 basketball12 sunshine1234 dragon123456 monkey123456 computer1234
    internet1234 whatever1234 michelle1234 jennifer1234 liverpool123 manchester123 testtesttest1 testpassword
    testpassword1 temporary123 default12345 secret123456 google123456 facebook1234 woaini1314520 woaini520520
    woaini123456 asd123456789 aa1234567890 a12345678901 qq123456789012 5201314woaini
"""
_COMMON = frozenset(_COMMON_TEXT.split())


def normalized(password: str) -> str:
    """Returns a password as it is hashed: keyboards type the same character in different ways (NFC)."""
    return unicodedata.normalize("NFC", password)


def check_password(name: str, password: str) -> None:
    """Raises InvalidValue, which begins with `password`, if an admin of this name should not have this password. The
    message does not quote it."""
    text = normalized(password)
    if not MIN_PASSWORD <= len(text) <= MAX_PASSWORD:
        raise _refused(f"must have {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise _refused("must not have control characters")
    plain = text.casefold()
    if plain.strip() == normalized(name).casefold():
        raise _refused("must not be the name")
    if plain.replace(" ", "") in _COMMON or plain in _COMMON:
        raise _refused("is one of those that are guessed first")
    if _repeats(plain):
        raise _refused("must not repeat one part only")


def _refused(reason: str) -> InvalidValue:
    return InvalidValue(f"password: a password {reason}", param="password")


def _repeats(text: str) -> bool:
    """Whether a text is a shorter one several times, the last time perhaps not to its end."""
    return any(text[length:] == text[:-length] for length in range(1, len(text) // 2 + 1))
