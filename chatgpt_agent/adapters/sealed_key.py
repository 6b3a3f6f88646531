"""A master key that is encrypted by a passphrase, for a backup: scrypt (RFC 7914) and Fernet."""

import base64
import os

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from chatgpt_agent.core.access.passwords import normalized
from chatgpt_agent.core.errors import SetupError

N, R, P = 2**17, 8, 1  # 128 MiB and about 0.4 s for each guess (OWASP, Password Storage Cheat Sheet)
MAX_N, MAX_R, MAX_P = 2**20, 16, 4  # of a file from elsewhere: 2 GiB


class SealedKey(msgspec.Struct, frozen=True, kw_only=True):
    """The encrypted key, with the parameters of scrypt; `salt` in base64."""

    kdf: str
    n: int
    r: int
    p: int
    salt: str
    token: str


def seal(key: bytes, passphrase: str, *, n: int = N) -> bytes:
    """Returns a key, encrypted. `n`: scrypt's cost, a power of 2."""
    salt = os.urandom(16)
    token = _fernet(passphrase, salt, n, R, P).encrypt(key)
    sealed = SealedKey(kdf="scrypt", n=n, r=R, p=P, salt=base64.b64encode(salt).decode(), token=token.decode("ascii"))
    return msgspec.json.format(msgspec.json.encode(sealed), indent=2) + b"\n"


def unseal(sealed: bytes, passphrase: str) -> bytes:
    """Returns the key. Raises SetupError: the passphrase is wrong, or this is no encrypted key."""
    try:
        value = msgspec.json.decode(sealed, type=SealedKey)
        salt = base64.b64decode(value.salt, validate=True)
        allowed = value.kdf == "scrypt" and value.n <= MAX_N and value.r <= MAX_R and value.p <= MAX_P
        fernet = _fernet(passphrase, salt, value.n, value.r, value.p) if allowed else None
    except (ValueError, MemoryError, UnsupportedAlgorithm):
        fernet = None
    if fernet is None:
        raise SetupError("the encrypted master key of the backup cannot be read")
    try:
        return fernet.decrypt(value.token)
    except InvalidToken:
        raise SetupError("the passphrase is wrong") from None


def _fernet(passphrase: str, salt: bytes, n: int, r: int, p: int) -> Fernet:
    derived = Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(normalized(passphrase).encode())
    return Fernet(base64.urlsafe_b64encode(derived))
