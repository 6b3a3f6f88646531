"""A database of the original program, as that program's scripts create it."""

from typing import Any

from tests.support.database import query

TABLES = """
    CREATE TABLE sys_user_token (
        id serial PRIMARY KEY, name varchar(20), local_token varchar(100), gpt_token varchar(100), comment varchar(255),
        create_time timestamptz(6) DEFAULT clock_timestamp());
    CREATE TABLE sys_config (
        id serial PRIMARY KEY, key varchar(255), value varchar(255),
        timestamp timestamptz(6) DEFAULT clock_timestamp(), "group" varchar(255));
    CREATE TABLE sys_model_request (
        id serial PRIMARY KEY, remote_id varchar(255), model varchar(100), define_price varchar(100),
        completion_tokens int4, prompt_tokens int4, total_tokens int4,
        timestamp timestamptz(6) DEFAULT clock_timestamp(), price numeric(10, 8))"""

TOKEN = "old-token-of-alice-0123456789"
KEY = "sk-old-key-of-alice"


class Legacy:
    """The database; its methods insert rows."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        query(dsn, TABLES)

    def user(self, name: str | None = "alice", token: str | None = TOKEN, key: str | None = KEY, **other: Any) -> None:
        """Inserts a user with a token."""
        self._insert("sys_user_token", name=name, local_token=token, gpt_token=key, **other)

    def price(self, key: str, value: str | None, group: str = "model_price", **other: Any) -> None:
        """Inserts a row of the configuration."""
        self._insert("sys_config", **{"key": key, "value": value, '"group"': group, **other})

    def request(self, day: str = "2023-07-01", tokens: tuple[int, int] = (10, 5), **other: Any) -> None:
        """Inserts a row of the history, at noon of a day; `tokens` are input and output."""
        inputs, outputs = tokens
        fields: dict[str, Any] = {
            "remote_id": f"chatcmpl-{day}-{inputs}",
            "model": "gpt-3.5-turbo-0301",
            "define_price": "0.0015,0.002",
            "prompt_tokens": inputs,
            "completion_tokens": outputs,
            "total_tokens": inputs + outputs,
            "timestamp": f"{day}T12:00:00+00:00",
            "price": "0.00002500",
        }
        self._insert("sys_model_request", **{**fields, **other})

    def _insert(self, table: str, **fields: Any) -> None:
        places = ", ".join(["%s"] * len(fields))
        query(self.dsn, f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({places})", list(fields.values()))
