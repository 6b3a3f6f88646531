"""The master key and its uses: HMACs of tokens, encryption of OpenAI keys. No cryptography of our own.

Each purpose has its own subkey (HKDF-SHA256, RFC 5869), so that a value made for one is never valid for another.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import cryptography
import msgspec
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chatgpt_agent.adapters.files import give_to_folder_owner, sync_folder
from chatgpt_agent.adapters.key_file import KeyFile, new_key
from chatgpt_agent.core.access.tokens import ADMIN_PREFIX, SECRET_BYTES, make_token
from chatgpt_agent.core.errors import KeyUnusable, SetupError

MIN_BYTES = 32
HMAC_BYTES = 32  # of each subkey
ID_LENGTH = 16  # characters of a key's id
PREFIX_LENGTH = ID_LENGTH + 2
SESSION_LENGTH = 43  # characters of a session's secret, which are base64


def cryptography_versions() -> dict[str, str]:
    """Returns the versions of cryptography and of its OpenSSL by name."""
    return {
        "cryptography": cryptography.__version__,
        "OpenSSL (cryptography)": backend.openssl_version_text().removeprefix("OpenSSL "),
    }


class KeyState(msgspec.Struct, frozen=True):
    """What the database knows of the master key: the check value of the key that encrypts and, once that was changed,
    the encrypted secrets by which tokens are hashed. They stay the same: tokens cannot be hashed again."""

    check_value: str
    digest_secrets: str | None = None

    @property
    def key_id(self) -> str:
        """The id of the key that encrypts."""
        return self.check_value[:ID_LENGTH]


class MasterKey:
    """The subkeys of one master key."""

    def __init__(self, master: bytes) -> None:
        if len(master) < MIN_BYTES:
            raise SetupError(f"the master key is too short: {len(master)} bytes, at least {MIN_BYTES} are needed")
        self.check_value = _derive(master, b"check/1").hex()
        self.id = self.check_value[:ID_LENGTH]
        self.prefix = f"k{self.id}:".encode()  # of what is encrypted with it, unless it is a database's first key
        self.fernet = _fernet(master, b"upstream-key/1")
        self.cookie_secret = _derive(master, b"cookie/1")  # signs what the console keeps in a browser
        self.session_hmac = _keyed(_derive(master, b"session-hmac/1"))
        self.probe_hmac = _keyed(_derive(master, b"proxy-probe/1"))
        self.own_digest_secrets = _derive(master, b"token-hmac/1") + _derive(master, b"admin-token-hmac/1")
        self._secrets_fernet = _fernet(master, b"digest-secrets/1")

    def encrypt_secrets(self, digest_secrets: bytes) -> str:
        """Returns the secrets of digests, encrypted with this key."""
        return self._secrets_fernet.encrypt(digest_secrets).decode()

    def decrypt_secrets(self, sealed: str | None) -> bytes:
        """Returns the secrets of digests; None: the key's own. Raises SetupError."""
        if sealed is None:
            return self.own_digest_secrets
        try:
            return self._secrets_fernet.decrypt(sealed)
        except InvalidToken:
            raise SetupError("the master key does not open the secrets of token digests in the database") from None


class Keyring:
    """The master key, and while it is changed its predecessor or successor. The database says which of them encrypts.
    The repr shows no key."""

    def __init__(self, master: bytes, *others: bytes, file: KeyFile | None = None) -> None:
        self._file = file
        self._keys = [MasterKey(each) for each in (master, *others)]  # the newest first
        self.state = KeyState(self._keys[0].check_value)
        self._take(self._keys[0], self.state)

    # Which keys there are.

    @property
    def key_ids(self) -> list[str]:
        """The ids of the keys in the file, the newest first: parts of their check values, which reveal nothing."""
        return [key.id for key in self._keys]

    @property
    def check_value(self) -> str:
        """The check value of the key that encrypts."""
        return self.state.check_value

    @property
    def check_values(self) -> list[str]:
        """The check values of the keys in the file, the newest first. The newest key is not in use while agents are
        waited for."""
        return [key.check_value for key in self._keys]

    @property
    def key_id(self) -> str:
        """The id of the key that encrypts."""
        return self._current.id

    @property
    def cookie_secret(self) -> bytes:
        """The key that signs what the console keeps in a browser."""
        return self._current.cookie_secret

    def refresh(self) -> bool:
        """Reads the key file again if it has changed; returns whether it has other keys now."""
        masters = self._file.read_again() if self._file else None
        if masters is None:
            return False
        former = self.key_ids
        self._keys = [MasterKey(each) for each in masters]
        return self.key_ids != former

    def use(self, state: KeyState) -> None:
        """Takes over which key encrypts. Raises SetupError if that key is not in the file."""
        if state == self.state:
            return
        if state.check_value not in {key.check_value for key in self._keys}:
            self.refresh()
        for key in self._keys:
            if key.check_value == state.check_value:
                self._take(key, state)
                return
        raise SetupError("the master key is not the one that this database uses")

    def next_state(self) -> KeyState:
        """Returns the state of the database after a change to the newest key."""
        newest = self._keys[0]
        return KeyState(newest.check_value, newest.encrypt_secrets(self._digest_secrets))

    def _take(self, key: MasterKey, state: KeyState) -> None:
        secret = key.decrypt_secrets(state.digest_secrets)
        self._current, self.state, self._digest_secrets = key, state, secret
        self._token_hmac, self._admin_hmac = _keyed(secret[:HMAC_BYTES]), _keyed(secret[HMAC_BYTES:])

    # Tokens and sessions.

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
        return secret, _digest(self._current.session_hmac, secret)

    def session_digest(self, secret: str) -> bytes | None:
        """As `digest`, for what a browser sends as the secret of a session; None: it cannot be one."""
        keyed = self._current.session_hmac
        return _digest(keyed, secret) if secret.isascii() and len(secret) == SESSION_LENGTH else None

    def probe_signatures(self, seconds: int) -> list[str]:
        """Returns what signs a probe of the reverse proxy at a Unix time, in hexadecimal: by each key of the file, the
        newest first. Of a file that agents read at different times, all of them have the last one."""
        return [_digest(key.probe_hmac, str(seconds)).hex() for key in self._keys]

    # OpenAI keys.

    def encrypt(self, user_id: int, upstream_key: str) -> bytes:
        """Returns an encrypted OpenAI key. The text contains the user's id, so that a key copied to another user is
        refused. Once the master key was changed, its id stands in front: the database refuses another one."""
        sealed = self._current.fernet.encrypt(f"{user_id}:{upstream_key}".encode())
        return sealed if self.state.digest_secrets is None else self._current.prefix + sealed

    def decrypt(self, user_id: int, encrypted: bytes) -> str:
        """Returns a user's OpenAI key. Raises KeyUnusable if it was not encrypted for them with a key of the file. The
        file is read again for a key that is not known."""
        owner, _, upstream_key = self._open(encrypted).partition(":")
        if owner != str(user_id):
            raise KeyUnusable(user_id)
        return upstream_key

    def is_current(self, encrypted: bytes) -> bool:
        """Whether a value says that it was encrypted with the key that encrypts."""
        return encrypted.startswith(self._current.prefix)

    def _open(self, encrypted: bytes) -> str:
        prefix, sealed = encrypted[:PREFIX_LENGTH], encrypted[PREFIX_LENGTH:]
        if not (prefix.startswith(b"k") and prefix.endswith(b":")):
            return _opened([self._current, *self._keys], encrypted)
        keys = self._with_prefix(prefix)
        if not keys and self.refresh():
            keys = self._with_prefix(prefix)
        return _opened(keys, sealed)

    def _with_prefix(self, prefix: bytes) -> list[MasterKey]:
        return [key for key in (self._current, *self._keys) if key.prefix == prefix]


def _opened(keys: Sequence[MasterKey], sealed: bytes) -> str:
    for key in keys:
        with contextlib.suppress(InvalidToken):
            return key.fernet.decrypt(sealed).decode()
    return ""


def _keyed(secret: bytes) -> hmac.HMAC:
    """Copied for each digest: hmac.digest() looks its algorithm up in OpenSSL each time, which takes twice as long."""
    return hmac.new(secret, digestmod=hashlib.sha256)


def _digest(keyed: hmac.HMAC, token: str) -> bytes:
    keyed = keyed.copy()
    keyed.update(token.encode("ascii"))
    return keyed.digest()


def _fernet(master: bytes, label: bytes) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(_derive(master, label)))


def _derive(master: bytes, label: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=HMAC_BYTES, salt=None, info=label).derive(master)


def read_master_key(path: Path) -> Keyring:
    """Returns the keyring of a key file. Raises SetupError: missing, short, or accessible to other accounts."""
    file = KeyFile(path)
    return Keyring(*file.read(), file=file)


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
            file.write(new_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        give_to_folder_owner(draft)
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    sync_folder(path.parent)  # otherwise a power cut could leave a database without its key
