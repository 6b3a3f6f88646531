"""The master key and its uses: HMACs of tokens, encryption of OpenAI keys. No cryptography of our own.

Each purpose has its own subkey (HKDF-SHA256, RFC 5869), so that a value made for one is never valid for another.
"""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chatgpt_agent.adapters.files import give_to_folder_owner, read_secret_file
from chatgpt_agent.core.access.tokens import ADMIN_PREFIX, SECRET_BYTES, make_token
from chatgpt_agent.core.errors import KeyUnusable, SetupError

MIN_BYTES = 32
SESSION_LENGTH = 43  # characters of a session's secret, which are base64


class Keyring:
    """The subkeys of a master key. Its repr does not show them."""

    def __init__(self, master: bytes) -> None:
        if len(master) < MIN_BYTES:
            raise SetupError(f"the master key is too short: {len(master)} bytes, at least {MIN_BYTES} are needed")
        # Copied for each digest: hmac.digest() looks its algorithm up in OpenSSL each time, which takes twice as long.
        self._token_hmac = hmac.new(_derive(master, b"token-hmac/1"), digestmod=hashlib.sha256)
        self._admin_hmac = hmac.new(_derive(master, b"admin-token-hmac/1"), digestmod=hashlib.sha256)
        self._session_hmac = hmac.new(_derive(master, b"session-hmac/1"), digestmod=hashlib.sha256)
        self._fernet = Fernet(base64.urlsafe_b64encode(_derive(master, b"upstream-key/1")))
        self.cookie_secret = _derive(master, b"cookie/1")  # signs what the console keeps in a browser
        self.check_value = _derive(master, b"check/1").hex()

    def new_token(self) -> tuple[str, bytes]:
        """Returns a new token and its digest. Only the digest is stored."""
        token = make_token(secrets.token_bytes(SECRET_BYTES))
        return token, self.digest(token)

    def digest(self, token: str) -> bytes:
        """HMAC-SHA256 of a token, 32 bytes: the key by which it is stored and looked up. A slow hash is for passwords:
        256 random bits do not need it, and it would let any client keep the CPU busy."""
        return _digest(self._token_hmac, token)

    def new_admin_token(self) -> tuple[str, bytes]:
        """Returns a new token of an administrator and its digest."""
        token = make_token(secrets.token_bytes(SECRET_BYTES), ADMIN_PREFIX)
        return token, self.admin_digest(token)

    def admin_digest(self, token: str) -> bytes:
        """As `digest`, for an administrator's token, with another subkey: a token of one kind is not valid as the
        other."""
        return _digest(self._admin_hmac, token)

    def new_session(self) -> tuple[str, bytes]:
        """Returns the secret of a new session of the console, 43 characters, and its digest."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        return secret, _digest(self._session_hmac, secret)

    def session_digest(self, secret: str) -> bytes | None:
        """As `digest`, for what a browser sends as the secret of a session; None: it cannot be one."""
        return _digest(self._session_hmac, secret) if secret.isascii() and len(secret) == SESSION_LENGTH else None

    def encrypt(self, user_id: int, upstream_key: str) -> bytes:
        """Returns an encrypted OpenAI key. The text contains the user's id, so that a key copied to another user is
        refused."""
        return self._fernet.encrypt(f"{user_id}:{upstream_key}".encode())

    def decrypt(self, user_id: int, encrypted: bytes) -> str:
        """Returns a user's OpenAI key. Raises KeyUnusable if it was not encrypted for them with this master key."""
        try:
            owner, _, upstream_key = self._fernet.decrypt(encrypted).decode().partition(":")
        except InvalidToken:
            owner, upstream_key = "", ""
        if owner != str(user_id):
            raise KeyUnusable(user_id)
        return upstream_key


def _digest(keyed: hmac.HMAC, token: str) -> bytes:
    keyed = keyed.copy()
    keyed.update(token.encode("ascii"))
    return keyed.digest()


def _derive(master: bytes, label: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=label).derive(master)


def read_master_key(path: Path) -> Keyring:
    """Returns the keyring of a key file. Raises SetupError: missing, short, or accessible to other accounts."""
    return Keyring(read_secret_file(path, "the master key"))


def make_master_key(path: Path) -> None:
    """Writes a new random key that only its owner can read. An existing key is kept, so that two first starts at the
    same time end with one key. The file gets its name once its content is on the disk. Raises SetupError."""
    try:
        _make_master_key(path)
    except OSError as error:
        raise SetupError(f"the master key {path} cannot be created: {error.strerror}") from None


def _make_master_key(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(base64.urlsafe_b64encode(secrets.token_bytes(MIN_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        give_to_folder_owner(draft)
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # otherwise a power cut could leave a database without its key
    finally:
        os.close(folder)
