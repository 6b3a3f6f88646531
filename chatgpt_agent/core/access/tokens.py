"""The format of tokens: `cga_` (of a user) or `cgm_` (of an administrator), 43 base62 digits (256 random bits), and 6
base62 digits of their CRC-32.

The checksum rejects mistyped and invented tokens without a look-up, like that of GitHub's tokens
(https://github.blog/engineering/behind-githubs-new-authentication-token-formats/). Tokens imported from another
program may be any text.
"""

import zlib

from chatgpt_agent.core.errors import InvalidApiKey
from chatgpt_agent.core.names import is_secret

PREFIX = "cga_"
ADMIN_PREFIX = "cgm_"  # of the same length
SECRET_BYTES = 32
LENGTH = len(PREFIX) + 43 + 6
MAX_LENGTH = 128  # characters of an imported token
PREFIX_LENGTH = 8  # characters that are stored to tell tokens apart: the prefix and four more

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _base62(number: int, digits: int) -> str:
    out = []
    for _ in range(digits):
        number, digit = divmod(number, 62)
        out.append(_ALPHABET[digit])
    return "".join(reversed(out))


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode("ascii")), 6)


def make_token(secret: bytes, prefix: str = PREFIX) -> str:
    """Returns the token of 32 random bytes."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a token needs {SECRET_BYTES} bytes")
    text = prefix + _base62(int.from_bytes(secret), 43)
    return text + _checksum(text)


def is_well_formed(token: str, prefix: str = PREFIX) -> bool:
    """Whether a text has a token's length, prefix, alphabet and checksum."""
    if len(token) != LENGTH or not token.startswith(prefix):
        return False
    if not token.isascii() or not token[len(prefix) :].isalnum():
        return False
    return _checksum(token[:-6]) == token[-6:]


def may_be_token(text: str) -> bool:
    """Whether a text is worth a look-up: well formed if it has our prefix, or else 1 to 128 printable ASCII characters
    without spaces."""
    if text.startswith(PREFIX):
        return is_well_formed(text)
    return is_secret(text, MAX_LENGTH)


def token_from_headers(values: list[str]) -> str:
    """Returns the token in a request's Authorization header fields (RFC 6750 §2.1; the scheme is case-insensitive,
    RFC 9110 §11.1). Raises InvalidApiKey unless there is exactly one that may be a token."""
    if len(values) == 1 and len(values[0]) <= 2 * MAX_LENGTH:
        scheme, _, token = values[0].partition(" ")
        token = token.strip(" ")
        if scheme.lower() == "bearer" and may_be_token(token):
            return token
    raise InvalidApiKey()
