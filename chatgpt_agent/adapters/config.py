"""The configuration: a flat YAML file, the environment on top, and every fault named at once.

Each key of `Config` is a key of the file and, in upper case, a variable of the environment. Folders and files
named in the file are relative to it; those in the environment are relative to the current folder.
"""

import difflib
import os
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import yaml

from chatgpt_agent.core.errors import ConfigError

MIB = 1024 * 1024


def _key(allowed: str, *, ge: float | None = None, le: float | None = None, secret: bool = False) -> msgspec.Meta:
    return msgspec.Meta(description=allowed, ge=ge, le=le, extra={"secret": secret})


Port = Annotated[int, _key("a port, 0 to 65535 (0: any that is free)", ge=0, le=65535)]
Seconds = Annotated[float, _key("seconds, 0.1 to 86400", ge=0.1, le=86400)]
Bytes = Annotated[int, _key("bytes, 1024 to 1073741824", ge=1024, le=1024 * MIB)]
Number = Annotated[int, _key("a whole number, 1 to 100000", ge=1, le=100_000)]
Tokens = Annotated[int, _key("tokens, 0 to 10000000", ge=0, le=10_000_000)]
Networks = Annotated[tuple[str, ...], _key("networks such as 10.0.0.0/8, with commas between them")]
Flag = Annotated[bool, _key("true or false")]
Name = Annotated[str, _key("text (a number in quotes)")]
Secret = Annotated[str, _key("text (a number in quotes)", secret=True)]
Address = Annotated[str, _key("an IP address or host name")]
Folder = Annotated[Path, _key("a folder")]
File = Annotated[Path | None, _key("a file, or nothing")]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one agent. Times in seconds, sizes in bytes."""

    # Where it listens.
    bind_address: Address = "0.0.0.0"  # noqa: S104 - it is there to be reached
    port: Port = 8080
    admin_bind_address: Address = "127.0.0.1"
    admin_port: Port = 8081

    # PostgreSQL: `database_url` wins over the four below it.
    database_url: Annotated[
        str | None, _key("embedded, a postgresql:// URL or a libpq connection string", secret=True)
    ] = None
    database_username: Name = "postgres"
    database_password: Secret = "postgres"  # noqa: S105 - the original program's default
    database_address: Annotated[str, _key("host, host:port or a socket's folder")] = "127.0.0.1:5432"
    database_name: Name = "postgres"
    auto_migrate: Flag = True

    # OpenAI.
    openai_url: Annotated[
        str,
        _key(
            "the whole https:// URL of chat completions, such as https://api.openai.com/v1/chat/completions "
            "(http:// on a loopback address or with openai_allow_http)"
        ),
    ] = "https://api.openai.com/v1/chat/completions"
    openai_allow_http: Flag = False
    openai_proxy: Annotated[str | None, _key("http://[user:password@]host:port, or nothing", secret=True)] = None
    openai_ca_file: File = None
    openai_http_version: Annotated[str, _key("1.1 or 2")] = "1.1"

    # What is kept on this machine.
    data_dir: Folder = Path("data")
    master_key_file: File = None

    # Limits.
    max_body_size: Bytes = 10 * MIB
    max_response_size: Bytes = 64 * MIB
    max_concurrent_requests: Number = 1000
    connect_timeout: Seconds = 10.0
    first_byte_timeout: Seconds = 300.0
    silence_timeout: Seconds = 120.0
    drain_after_disconnect: Annotated[float, _key("seconds, 0 to 86400", ge=0, le=86400)] = 60.0
    drain_after_disconnect_max: Number = 100
    drain_timeout: Seconds = 30.0
    stale_after: Seconds = 300.0
    trusted_proxies: Networks = ()

    # Books.
    time_zone: Annotated[str, _key("a time zone such as Europe/Berlin")] = "UTC"
    budget_output_tokens: Tokens = 16_384
    budget_linked_tokens: Tokens = 32_000
    webhook_url: Annotated[str | None, _key("an http:// or https:// URL, or nothing", secret=True)] = None
    webhook_secret_file: File = None

    log_level: Annotated[str, _key("debug, info, warning or error")] = "info"

    def __repr__(self) -> str:
        """Without passwords: a repr finds its way into logs."""
        return f"Config(data_dir={str(self.data_dir)!r})"

    @property
    def embedded(self) -> bool:
        """Whether the database is the private one under `data_dir`."""
        return self.database_url == "embedded"


_PATHS = ("openai_ca_file", "data_dir", "master_key_file", "webhook_secret_file")

# What PyYAML says of aliases, anchors and tags, with their names.
_QUOTING = re.compile(r"found (undefined|duplicate) (alias|anchor|tag)|could not determine a constructor")
_HOST_AND_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration of a file (or of none) under an environment.
    Raises ConfigError with a line for each fault: where, key, what was found, what is allowed."""
    faults: list[str] = []
    found = _from_file(path, faults) if path else {}
    found |= _from_environment(environ)
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(Config):
        if field.name in found:
            where, value = found[field.name]
            try:
                values[field.name] = _check(field, value)
            except ValueError:
                faults.append(_fault(where, field, value))
    faults += _check_together(Config(**values), {key: where for key, (where, _) in found.items()})
    if faults:
        raise ConfigError(faults)
    return Config(**values)


def _from_file(path: Path, faults: list[str]) -> dict[str, tuple[str, Any]]:
    try:
        read = yaml.load(path.read_text("utf-8"), _NoRepeats)  # noqa: S506 - _NoRepeats is a SafeLoader
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([_yaml_fault(path, error)]) from None
    except (ValueError, KeyError, RecursionError):  # PyYAML's own, for `!!int text` and the like
        raise ConfigError([f"{path}: is not valid YAML"]) from None
    if read is None:
        return {}
    if not isinstance(read, dict):
        raise ConfigError([f"{path}: found {type(read).__name__}; allowed: lines of `key: value`"])
    known = {field.name for field in msgspec.structs.fields(Config)}
    faults += [_unknown(path, str(key), known) for key in read if key not in known]
    base = path.absolute().parent
    for key in _PATHS:
        if isinstance(read.get(key), str) and read[key]:
            read[key] = str(base / read[key])
    return {key: (str(path), value) for key, value in read.items() if key in known and value is not None}


def _unknown(path: Path, key: str, known: set[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"{path}: {key}: found an unknown key; allowed: {near[0] if near else 'those of config.example.yml'}"


def _yaml_fault(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f" line {mark.line + 1}:" if mark else ""
    problem = getattr(error, "problem", None) or "is not valid YAML"
    if _QUOTING.match(problem):  # what it quotes may be a password: `database_password: *secret`
        problem = "a value that begins with & * or ! must stand in quotes"
    return f"{path}:{line} {problem}"


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    names = {field.name: field.name.upper() for field in msgspec.structs.fields(Config)}
    found = {key: ("environment", environ[name]) for key, name in names.items() if name in environ}
    # An empty variable means nothing is set, as `OPENAI_PROXY=` in a unit file does.
    return {key: (f"environment {names[key]}", value) for key, (_, value) in found.items() if value != ""}


def _check(field: msgspec.structs.FieldInfo, value: Any) -> Any:
    if field.name == "openai_http_version" and isinstance(value, float | int):
        value = str(value)  # YAML reads 1.1 as a number
    if isinstance(value, str) and any(part in field.name for part in ("url", "path")):
        value = value.strip()
    if field.name in _PATHS:
        if not isinstance(value, str) or not value:
            raise ValueError
        return Path(value).absolute()
    if field.type is Networks and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, bool) and field.type is not Flag:
        raise ValueError
    strict = not (isinstance(value, str) and _scalar(field))
    converted = msgspec.convert(value, field.type, strict=strict)  # ValidationError is a ValueError
    if not _CHECKS.get(field.name, _anything)(converted):
        raise ValueError
    return converted


def _scalar(field: msgspec.structs.FieldInfo) -> bool:
    return isinstance(field.default, int | float)


def _fault(where: str, field: msgspec.structs.FieldInfo, value: object) -> str:
    meta = next(part for part in field.type.__metadata__ if isinstance(part, msgspec.Meta))
    # An `@` may stand after a user name and password that somebody put into an address.
    hidden = (meta.extra or {}).get("secret") or "@" in str(value)
    shown = "(not shown)" if hidden else repr(value)[:80]
    return f"{where}: {field.name}: found {shown}; allowed: {meta.description}"


def _check_together(config: Config, where: Mapping[str, str]) -> list[str]:
    url = urlsplit(config.openai_url)
    if url.scheme == "http" and not (config.openai_allow_http or is_loopback(url.hostname or "")):
        return [
            f"{where.get('openai_url', 'default')}: openai_url: found {config.openai_url!r}; allowed: https://, or "
            "http:// on a loopback address, or openai_allow_http: true (keys and messages then cross in the clear)"
        ]
    return []


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: localhost, 127.0.0.0/8 or ::1."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def host_and_port(address: str) -> tuple[str, int]:
    """The two parts of `database_address`. Raises ValueError."""
    if "/" in address or (address.count(":") > 1 and not address.startswith("[")):
        return address, 5432  # a socket's folder, or an IPv6 address without brackets
    found = _HOST_AND_PORT.fullmatch(address)
    port = int(found[3] or 5432) if found else 0
    if found is None or not 0 < port < 65536:
        raise ValueError(address)
    return found[1] or found[2], port


def _is_url(text: str, *schemes: str) -> bool:
    try:
        url = urlsplit(text)
        port_ok = url.port is None or url.port > 0  # .port raises ValueError where it is no number
    except ValueError:
        return False
    return url.scheme in schemes and bool(url.hostname) and port_ok and text.isascii() and text.isprintable()


def _is_proxy(text: str | None) -> bool:
    if text is None:
        return True
    url = urlsplit(text) if _is_url(text, "http") else None
    return url is not None and url.port is not None and url.path in ("", "/") and not (url.query or url.fragment)


def _is_openai_url(text: str) -> bool:
    url = urlsplit(text) if _is_url(text, "https", "http") else None
    return url is not None and not (url.query or url.fragment or url.username or " " in text) and len(url.path) > 1


def _is_database(text: str) -> bool:
    return text == "embedded" or text.startswith(("postgresql://", "postgres://")) or "=" in text


def _anything(_: Any) -> bool:
    return True


def _are_networks(found: tuple[str, ...]) -> bool:
    for text in found:
        ip_network(text, strict=False)  # ValueError where it is none
    return True


def _is_zone(text: str) -> bool:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


# What a key's type does not say. A check refuses with something false or a ValueError.
_CHECKS: dict[str, Callable[[Any], object]] = {
    "openai_url": _is_openai_url,
    "openai_proxy": _is_proxy,
    "openai_http_version": lambda text: text in ("1.1", "2"),
    "log_level": lambda text: text in ("debug", "info", "warning", "error"),
    "bind_address": bool,
    "admin_bind_address": bool,
    "database_url": lambda text: text is None or _is_database(text),
    "database_address": host_and_port,
    "trusted_proxies": _are_networks,
    "time_zone": _is_zone,
    "webhook_url": lambda text: text is None or _is_url(text, "https", "http"),
}


class _NoRepeats(yaml.SafeLoader):
    """YAML where a repeated key is a fault and not a silent choice, and a date is text: no key takes one, a
    password may look like one."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class declares it
        first: [resolver for resolver in resolvers if resolver[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for at, key in enumerate(keys):
            if key in keys[:at]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.value[at][0].start_mark
                )
        return super().construct_mapping(node, deep)


def config_from(file: str | None, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration that a command is run with: `--config`, else `CHATGPT_AGENT_CONFIG`, else no file."""
    name = file or environ.get("CHATGPT_AGENT_CONFIG")
    return load_config(Path(name) if name else None, environ)
