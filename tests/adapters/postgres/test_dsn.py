"""The connection string of a configuration."""

import pytest
from psycopg2.extensions import parse_dsn

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.postgres.dsn import dsn_from
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
