"""Connection strings: the one of a configuration, and the addresses that one names."""

import asyncio
import os
from collections.abc import AsyncGenerator
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from pathlib import Path

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_checks import host_and_port
from chatgpt_agent.adapters.own_thread import look_up
from chatgpt_agent.core.errors import ConfigError

LOOKUP_SECONDS = 15.0  # for the addresses of a name: a resolver tries several servers, for 5 s each


def dsn_from(config: Config) -> str:
    """Returns the libpq connection string of a configuration that is not `embedded`. Raises ConfigError."""
    try:
        if config.database_url is not None:
            dsn = str(make_dsn(config.database_url))
            _check_hosts(parse_dsn(dsn))
            return dsn
    except (psycopg2.Error, ValueError):  # ValueError: bytes that are not UTF-8
        raise ConfigError(
            ["database_url: found (not shown); allowed: embedded, a postgresql:// URL or a libpq connection string"]
        ) from None
    host, port = host_and_port(config.database_address)
    return str(
        make_dsn(
            host=host,
            port=port,
            user=config.database_username,
            password=config.database_password,
            dbname=config.database_name,
        )
    )


def place_of(dsn: str) -> str:
    """Returns where a connection string leads, as far as it says so: `host:port` of each server, or a socket's
    folder."""
    parsed = _with_defaults(parse_dsn(dsn)) or {}
    hosts = (parsed.get("host") or parsed.get("hostaddr") or "the local socket").split(",")
    ports = parsed.get("port", "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    places = [f"{host}:{port or 5432}" for host, port in zip(hosts, ports, strict=False)]
    return ", ".join(place.rpartition(":")[0] if place.startswith(("/", "@", "the ")) else place for place in places)


def _check_hosts(parsed: dict[str, str]) -> None:
    """Raises ValueError if a host or port may hold a part of a password: errors name them."""
    if not parsed.get("port", "").replace(",", "0").isdecimal() and "port" in parsed:
        raise ValueError("not a port")
    for host in parsed.get("host", "").split(","):
        if "@" in host[1:] or "://" in host or "=" in host:
            raise ValueError("not a host")


async def addresses(dsn: str) -> AsyncGenerator[dict[str, str], None]:
    """Yields the parameters of each host of a connection string and each address of its name, in order.

    libpq could try them itself, but opens a new socket for each, while aiopg waits for the first one. And libpq
    resolves names in the calling thread, which would block the event loop. So hosts are also found where libpq finds
    them: in a service file and in the environment."""
    parsed = _with_defaults(parse_dsn(dsn))
    if parsed is None:
        yield {}
        return
    hosts, ports = parsed.get("host", "").split(","), parsed.get("port", "").split(",")
    if "hostaddr" in parsed or len(ports) not in (1, len(hosts)):  # resolved already, or an error that libpq reports
        yield {}
        return
    for host, port in zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=True):
        parameters = {name: value for name, value in (("host", host), ("port", port)) if value}
        if not host or host.startswith(("/", "@")):  # a socket of this machine
            yield parameters
            continue
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                resolved = await look_up(host)
        except OSError as error:  # TimeoutError is one
            if host == hosts[-1]:
                reason = error.strerror or "no name server answers"
                raise psycopg2.OperationalError(f"{host}: {reason}") from None
            continue
        for *_, address in resolved:
            yield {**parameters, "hostaddr": str(address[0])}


def _with_defaults(parsed: dict[str, str]) -> dict[str, str] | None:
    """Returns parameters with the hosts and ports that libpq adds to them, in its order: of the service, of the
    environment (https://www.postgresql.org/docs/current/libpq-pgservice.html). None: they have a service in no file
    that we know, such as one in the folder that libpq was built for, or one that a directory service (LDAP) describes:
    libpq resolves its name."""
    service = parsed.get("service") or os.environ.get("PGSERVICE")
    if service:
        described = _service(service)
        if described is None:
            return None
        parsed = described | parsed
    environment = {key: os.environ[name] for key, name in _VARIABLES.items() if os.environ.get(name)}
    if "host" in parsed:
        environment.pop("hostaddr", None)
    return environment | parsed


_VARIABLES = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT"}


def _service(name: str) -> dict[str, str] | None:
    """Returns the parameters of a service; None if no file that we know describes it, or if it is one of LDAP."""
    own = os.environ.get("PGSERVICEFILE") or "~/.pg_service.conf"
    folder = os.environ.get("PGSYSCONFDIR")
    for file in (Path(own).expanduser(), *([Path(folder) / "pg_service.conf"] if folder else [])):
        parser = RawConfigParser(delimiters=("=",), comment_prefixes=("#",), strict=False)
        try:
            parser.read_string(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, ConfigParserError, RuntimeError):  # RuntimeError: there is no home
            continue
        if parser.has_section(name):
            parameters = dict(parser.items(name))
            return None if any(key.startswith("ldap:") for key in parameters) else parameters
    return None
