"""The connection string of a configuration."""

from pathlib import Path

import pytest
from psycopg2.extensions import parse_dsn

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.postgres.dsn import addresses, dsn_from
from chatgpt_agent.core.errors import ConfigError


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("db:5433", "db", "5433"),
        ("db", "db", "5432"),
        ("10.0.0.1:6000", "10.0.0.1", "6000"),
        ("[::1]:6000", "::1", "6000"),
        ("[::1]", "::1", "5432"),
        ("::1", "::1", "5432"),
        ("2001:db8::7", "2001:db8::7", "5432"),
        ("/run/postgresql", "/run/postgresql", "5432"),
        ("/run/odd:5433", "/run/odd:5433", "5432"),
    ],
)
def test_an_address_is_host_and_port(address: str, host: str, port: str) -> None:
    """A socket's folder and an IPv6 address with or without brackets are addresses, too."""
    parts = parse_dsn(dsn_from(Config(database_address=address)))
    assert (parts["host"], parts["port"]) == (host, port)


def test_the_four_database_keys_make_a_connection_string() -> None:
    """The values may contain any character."""
    config = Config(database_username="a b", database_password="it's \\ 1=2", database_name="é")
    expected = {"host": "127.0.0.1", "port": "5432", "user": "a b", "password": "it's \\ 1=2", "dbname": "é"}
    assert parse_dsn(dsn_from(config)) == expected


def test_database_url_overrides_the_four_keys() -> None:
    """The other keys are ignored."""
    config = Config(database_url="postgresql://u:p%40@db:5433/agent?sslmode=require", database_name="other")
    expected = {"host": "db", "port": "5433", "user": "u", "password": "p@", "dbname": "agent", "sslmode": "require"}
    assert parse_dsn(dsn_from(config)) == expected


def test_database_url_may_be_a_libpq_connection_string() -> None:
    """A connection string has options that a URL lacks."""
    assert parse_dsn(dsn_from(Config(database_url="service=agent"))) == {"service": "agent"}


@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "mysql://u:hunter2@db/x",
        "postgresql://u:hunter2@[::1/x",
        "password=hunter2 x",
        "host=u:hunter2@db",
        "host=db port=hunter2",
        "host=db,u:hunter2@db user=u",
        "host=postgresql://u:hunter2/x",
    ],
)
def test_an_invalid_database_url_is_an_error(url: str) -> None:
    """The error does not show the value, which may contain a password."""
    with pytest.raises(ConfigError, match=r"database_url: found \(not shown\); allowed: embedded,") as caught:
        dsn_from(Config(database_url=url))
    assert "hunter2" not in str(caught.value)


# The addresses of a connection string: libpq would resolve a name in the calling thread, which is the event loop's.


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without settings of libpq, whose service file is `services` in an empty folder."""
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE", "PGSYSCONFDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    return monkeypatch


async def addresses_of(dsn: str) -> list[dict[str, str]]:
    """All addresses of a connection string."""
    return [address async for address in addresses(dsn)]


async def test_a_name_in_the_environment_is_resolved(environment: pytest.MonkeyPatch) -> None:
    """PGHOST counts where the connection string has no host, and PGPORT where it has no port."""
    environment.setenv("PGHOST", "localhost")
    assert {"host": "localhost", "hostaddr": "127.0.0.1"} in await addresses_of("dbname=x")
    environment.setenv("PGPORT", "6000")
    assert {"host": "localhost", "port": "6000", "hostaddr": "127.0.0.1"} in await addresses_of("dbname=x")
    assert await addresses_of("host=192.0.2.1 port=5433") == [
        {"host": "192.0.2.1", "port": "5433", "hostaddr": "192.0.2.1"}
    ]


async def test_an_address_in_the_environment_is_no_name(environment: pytest.MonkeyPatch) -> None:
    """With PGHOSTADDR libpq looks nothing up, and a folder is that of a socket."""
    environment.setenv("PGHOST", "/run/postgresql")
    assert await addresses_of("dbname=x") == [{"host": "/run/postgresql"}]
    environment.setenv("PGHOST", "db.invalid")
    environment.setenv("PGHOSTADDR", "192.0.2.1")
    assert await addresses_of("dbname=x") == [{}]


@pytest.mark.parametrize("by_environment", [False, True])
async def test_a_name_in_a_service_file_is_resolved(
    environment: pytest.MonkeyPatch, tmp_path: Path, by_environment: bool
) -> None:
    """The service goes before PGHOST, and the connection string before the service."""
    lines = ["# services", "[other]", "host=other.invalid", "[agent]", "host=localhost", "port=7000", "password=a%b"]
    (tmp_path / "services").write_text("\n".join(lines))
    environment.setenv("PGHOST", "db.invalid")
    if by_environment:
        environment.setenv("PGSERVICE", "agent")
    service = "" if by_environment else "service=agent"
    assert {"host": "localhost", "port": "7000", "hostaddr": "127.0.0.1"} in await addresses_of(service)
    assert {"host": "127.0.0.1", "port": "7000", "hostaddr": "127.0.0.1"} in await addresses_of(
        f"{service} host=127.0.0.1"
    )


async def test_a_service_that_is_not_found_is_left_to_libpq(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It may be in the folder that libpq was built for; else libpq says that there is none."""
    environment.setenv("PGHOST", "db.invalid")
    assert await addresses_of("service=agent") == [{}]
    (tmp_path / "services").write_text("[agent]\nldap://localhost/dc=example\n")
    assert await addresses_of("service=agent") == [{}]
