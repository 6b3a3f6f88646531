"""The checks: their names, what each looks at, and which others it needs.

To add one: write a coroutine function that returns results, and a line here. Its test breaks what it checks.
"""

from collections.abc import Awaitable, Callable

import msgspec

from chatgpt_agent.admin.doctor import books, database, files, machine, network, proxy, users
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.results import Result

_DISK_HANGS = "the disk of data_dir hangs: see `dmesg`, and whether it is a network's"
_DATABASE_HANGS = "see in pg_stat_activity what PostgreSQL is busy with, or waits for"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A check. `about`: what it looks at; `needs`: checks without which it cannot be made; `after`: those for which it
    waits, however they end; `seconds`: its limit, after which `hangs` says what to do."""

    name: str
    about: str
    run: Callable[[Examination], Awaitable[list[Result]]]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    seconds: float = 5.0
    hangs: str = ""


def _on_schema(name: str, about: str, run: Callable[[Examination], Awaitable[list[Result]]]) -> Check:
    return Check(name=name, about=about, run=run, needs=("schema",), hangs=_DATABASE_HANGS)


CHECKS = (
    Check(
        name="files",
        about="modes and owners of configuration, keys and data_dir",
        run=files.check_files,
        hangs=_DISK_HANGS,
    ),
    Check(
        name="disk", about="room on the disk of data_dir, time of a write", run=machine.check_disk, hangs=_DISK_HANGS
    ),
    Check(name="outbox", about="rows that wait to be shipped", run=machine.check_outbox, hangs=_DISK_HANGS),
    Check(name="ready", about="whether the agent that runs here can serve requests", run=machine.check_ready),
    Check(name="open-files", about="the limit of open files", run=machine.check_open_files),
    Check(
        name="database",
        about="whether PostgreSQL answers, its version and connections",
        run=database.check_database,
        hangs="see whether PostgreSQL runs, or still recovers (server.log, for an embedded one)",
    ),
    Check(
        name="schema",
        about="migrations",
        run=database.check_schema,
        needs=("database",),
        hangs=_DATABASE_HANGS,
    ),
    _on_schema("rights", "whether the account may write, create partitions and migrate", database.check_rights),
    _on_schema("partitions", "partitions of this month and the next", database.check_partitions),
    _on_schema("master-key", "whether the master key opens every stored key", books.check_master_key),
    _on_schema("agents", "rows that wait in other agents, versions", books.check_agents),
    _on_schema("dead-letters", "rows that PostgreSQL has refused", books.check_dead_letters),
    _on_schema("verify", "the last `ledger verify` and its findings", books.check_last_verify),
    _on_schema("backup", "the age of the last backup", books.check_backup),
    _on_schema("prices", "models and users without a price", users.check_prices),
    _on_schema("shutdowns", "models in use that OpenAI shuts down", users.check_shutdowns),
    _on_schema("openai-keys", "keys of users that OpenAI has refused", users.check_openai_keys),
    _on_schema("tokens", "tokens that expire soon", users.check_tokens),
    Check(name="openai", about="the way to OpenAI: name, proxy, TLS", run=network.check_openai),
    Check(name="clock", about="this machine's clock", run=database.check_clock, after=("database", "openai")),
    Check(name="public-url", about="whether the agent is reached there", run=network.check_public_url),
    Check(
        name="proxy",
        about="the reverse proxy in front: streams, addresses of clients",
        run=proxy.check_proxy,
        after=("public-url",),
    ),
    Check(name="certificate", about="tls_certificate and its dates", run=network.check_certificate),
    Check(name="webhook", about="the receiver of alerts", run=network.check_webhook),
)
