"""Checks of PostgreSQL: whether it is reached, what this program may do there, its schema, partitions and clock."""

from datetime import UTC, datetime

from chatgpt_agent.adapters.migrate import known_migrations, schema_status
from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.adapters.postgres.agents import agent_states
from chatgpt_agent.adapters.postgres.checks import PARTITION, run_check
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.dsn import place_of
from chatgpt_agent.adapters.postgres.health import DatabaseHealth, read_clock, read_health
from chatgpt_agent.adapters.postgres.rights import Rights, read_rights
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.results import Result, failure, ok, skipped, warning
from chatgpt_agent.core.errors import SetupError, StoreUnavailable
from chatgpt_agent.runtime.shipper import CLOCK_SECONDS

OLDEST_VERSION = 15  # of PostgreSQL that this program is tested with
CONNECTIONS = 0.9  # of max_connections
_SYNCHRONIZE = "synchronize the clocks (timedatectl, chronyc tracking)"
DRIFT_SECONDS = 5.0  # by which clocks differ where they are not synchronized

# What to do, by a part of what libpq or the server says.
_ADVICE = {
    "Connection refused": "start PostgreSQL, or correct {key}",
    "No such file or directory": "start PostgreSQL, or correct the socket's folder in {key}",
    "Name or service not known": "correct the host in {key}",
    "No address associated with hostname": "correct the host in {key}",
    "failure in name resolution": "correct the host in {key}, or see whether the name server answers",
    "authentication failed": "correct user and password in {key}",
    "no pg_hba.conf entry": "allow this account from this address in pg_hba.conf",
    'role "': "create the role (docs/deployment.md), or correct the user in {key}",
    'database "': "create the database (docs/deployment.md), or correct its name in {key}",
    "too many": "raise max_connections of PostgreSQL, or CONNECTION LIMIT of the role",
    "starting up": "wait until PostgreSQL has recovered",
    "unsupported startup parameter": "set these with ALTER ROLE … SET instead (docs/operations/pgbouncer.md)",
    "no such user": "add the user to PgBouncer's auth_file, or set its auth_query",
    "no such database": "name the database in PgBouncer's configuration, or correct it in {key}",
    "certificate": "correct sslmode or sslrootcert in {key}",
}


async def check_database(examination: Examination) -> list[Result]:
    """PostgreSQL answers."""
    config = examination.config
    if config.embedded and not (examination.data_dir / "postgres" / "pg").exists():
        return [
            ok(f"there is no embedded database in {examination.data_dir} yet; the first start creates it", blocks=True)
        ]
    try:
        store = await examination.open_database()
        health = await read_health(store, with_tables=False)
    except StoreUnavailable as error:
        reason = error.message.removeprefix("the database is unavailable: ")
        reason = reason.replace("TimeoutError", "it does not answer in time")
        text = f"{place_of(examination.dsn)} cannot be used: {reason}"
        return [failure(text, _advice(reason, examination.key_name))]
    except SetupError as error:
        return [failure(error.message)]
    examination.clocks["PostgreSQL's"] = await _ahead(store)
    return of_health(health, pooled=await store.is_pooled(), shared=await store.shares_sessions())


def _advice(text: str, key: str) -> str:
    for part, advice in _ADVICE.items():
        if part in text:
            return advice.format(key=key)
    return f"see whether PostgreSQL runs, and whether {key} is right"


def of_health(health: DatabaseHealth, *, pooled: bool = False, shared: bool = False) -> list[Result]:
    """Returns what is to be said of a server that answers, directly or through a pooler, which may share sessions."""
    results: list[Result] = []
    major = health.version.partition(".")[0]
    if major.isdigit() and int(major) < OLDEST_VERSION:
        text = f"PostgreSQL {health.version} is older than the versions that this program is tested with"
        results.append(warning(text, f"upgrade it to {OLDEST_VERSION} or newer"))
    if health.all_connections >= CONNECTIONS * health.max_connections:
        text = f"{health.all_connections} of {health.max_connections} connections of the server are in use"
        results.append(warning(text, "raise max_connections of PostgreSQL"))
    if shared:
        text = "the pooler shares sessions (pool_mode = transaction), so notices do not reach agents"
        results.append(warning(text, "set pool_mode = session for this database (docs/operations/pgbouncer.md)"))
    size = f"{health.bytes / 1024**2:.0f} MiB"
    connections = f"{health.all_connections} of {health.max_connections} connections"
    way = ", through a pooler that keeps sessions" if pooled else ""
    return results or [ok(f"PostgreSQL {health.version}, database {health.name} of {size}, {connections} in use{way}")]


async def _ahead(store: Store) -> float:
    before = datetime.now(UTC)
    server = await read_clock(store)
    return (before + (datetime.now(UTC) - before) / 2 - server).total_seconds()


async def check_schema(examination: Examination) -> list[Result]:
    """The schema is that of this program."""
    dsn, migrates = examination.dsn, examination.config.auto_migrate
    try:
        status = await in_own_thread(lambda: schema_status(dsn))
    except SetupError as error:
        foreign = "permission denied" in error.message
        advice = "use the account that owns the tables, or let it: GRANT ALL ON ALL TABLES IN SCHEMA public TO …"
        return [failure(error.message, advice if foreign else "")]
    if status.unknown:
        text = f"it is newer than this program: it has {status.unknown[-1]}"
        return [failure(text, "install the newer chatgpt-agent, or roll back with it (docs/operations.md)")]
    if status.rolled_back:
        names = ", ".join(status.rolled_back)
        return [failure(f"rolled back: {names}", "install the older program, or run `chatgpt-agent migrate`")]
    if not status.pending:
        return [ok(f"up to date, {known_migrations()[-1]}")]
    pending = "it has no tables yet" if not status.applied else f"{', '.join(status.pending)} must be applied"
    if not status.applied and migrates:
        return [ok(f"{pending}; the first start creates them", blocks=True)]
    advice = "the next start does it; stop all agents first" if migrates else "chatgpt-agent migrate"
    return [warning(pending, advice, blocks=True)]


async def check_rights(examination: Examination) -> list[Result]:
    """The account may write, create partitions and migrate."""
    rights = await read_rights(examination.store)
    return of_rights(rights) or [ok(f"{rights.account} may write, create partitions and migrate in {rights.schema}")]


def of_rights(rights: Rights) -> list[Result]:
    """Returns what is missing, a line for each right."""
    if rights.is_replica:
        advice = "name the primary in database_url, or both with target_session_attrs=read-write"
        return [failure("the server is a replica, which takes no writes", advice)]
    if rights.is_read_only:
        return [
            failure("transactions are read-only", "reset default_transaction_read_only of server, database or role")
        ]
    account, schema = rights.account, rights.schema or "public"
    results: list[Result] = []
    if not rights.may_create:
        advice = f"GRANT CREATE ON SCHEMA {schema} TO {account}"
        results.append(failure(f"{account} may not create tables, and so no partition of a month", advice))
    if not rights.owns_ledger:
        text = f"{account} does not own the tables, and so may neither create partitions nor migrate"
        results.append(failure(text, f"ALTER TABLE … OWNER TO {account}, or use the account that owns them"))
    if rights.closed_tables:
        names = ", ".join(rights.closed_tables)
        advice = f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {account}"
        results.append(failure(f"{account} cannot read or write {names}", advice))
    return results


async def check_partitions(examination: Examination) -> list[Result]:
    """This month and the next have a partition, and each is of one month."""
    findings = await run_check(examination.store, PARTITION, 10)
    if not findings:
        return [ok("this month and the next have one")]
    now = datetime.now(UTC)
    runs = any(agent.runs(now) for agent in await agent_states(examination.store))
    texts = [f"{finding.subject}: {finding.text}" for finding in findings]
    if not runs and all("has no partition" in text for text in texts):
        return [ok(f"{', '.join(texts)}; an agent creates it at its start")]
    return [warning(text, "see the agent's log and `rights`") for text in texts]


async def check_clock(examination: Examination) -> list[Result]:
    """This machine's clock agrees with others."""
    clocks = examination.clocks
    if not clocks:
        return [skipped("needs database or openai")]
    wrong = {name: ahead for name, ahead in clocks.items() if abs(ahead) > DRIFT_SECONDS}
    if not wrong:
        return [ok(", ".join(f"{abs(ahead):.1f} s from {name}" for name, ahead in clocks.items()))]
    if len(wrong) > 1 and max(wrong.values()) - min(wrong.values()) < DRIFT_SECONDS:  # all say the same
        return [_of_clock(" and ".join(wrong), next(iter(wrong.values())))]
    return [_of_clock(name, ahead) for name, ahead in wrong.items()]


def _of_clock(name: str, ahead: float) -> Result:
    text = f"this machine's clock is {_span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} {name}"
    if abs(ahead) < CLOCK_SECONDS:
        return warning(text, _SYNCHRONIZE)
    return failure(f"{text}: rows count for wrong days", _SYNCHRONIZE)


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
