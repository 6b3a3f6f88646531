"""Checks of the ledger and what is stored beside it: dead letters, the last proof, the last backup, the master key."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from chatgpt_agent.adapters.keyring import Keyring, read_master_key
from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.adapters.postgres.agents import AgentState, agent_states
from chatgpt_agent.adapters.postgres.checks import Finding
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.ledger_checks import last_checks
from chatgpt_agent.adapters.postgres.settings import read_key_state
from chatgpt_agent.adapters.postgres.usage import count_dead_letters
from chatgpt_agent.adapters.postgres.usage_rows import has_rows
from chatgpt_agent.adapters.postgres.users import list_users
from chatgpt_agent.admin.backups import BACKUP_AGE, last_backup
from chatgpt_agent.admin.checks import VERIFY
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.results import Result, counted, failure, ok, skipped, warning
from chatgpt_agent.admin.overview import PROOF_DAYS, WAITING_SECONDS
from chatgpt_agent.admin.stored_values import check_values
from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.core.moments import show_minute
from chatgpt_agent.runtime.master_key import master_key_path

LISTED = 5  # findings, each with a line of its own
MAX_FINDINGS = 10_000  # of each kind


async def check_master_key(examination: Examination) -> list[Result]:
    """The master key is that of the database, and opens every stored value."""
    store = examination.new_store()  # which may be busy for longer than other checks wait
    path = master_key_path(examination.config)
    state = await read_key_state(store)
    if not await in_own_thread(path.exists):
        if state is None:
            return [ok(f"there is none yet; the first start creates {path}")]
        return [failure(f"{path} is missing, and this database was set up with one", "restore it from your backup")]
    try:
        keyring = await in_own_thread(lambda: read_master_key(path))
    except SetupError:
        return [skipped(f"{path} cannot be used: see `files`")]
    if state is not None and state.check_value not in keyring.check_values:
        advice = "restore the right key file, or correct database_url or master_key_file"
        return [failure(f"{path} is not the key of this database", advice)]
    keyring.use(state or keyring.state)
    return await _stored_values(store, keyring) or _of_keyring(path, keyring)


def _of_keyring(path: Path, keyring: Keyring) -> list[Result]:
    if len(keyring.key_ids) > 1:
        text = f"{path} has {len(keyring.key_ids)} keys: a change of the master key is not finished"
        return [warning(text, "chatgpt-agent master-key check, then master-key rotate --finish")]
    return [ok("it opens every stored OpenAI key, and agents can read every row")]


async def _stored_values(store: Store, keyring: Keyring) -> list[Result]:
    findings = await check_values(store, keyring, MAX_FINDINGS)
    names = {f"users {user.id}": user.name for user in await list_users(store)} if findings else {}
    results = [_of_finding(finding, names.get(finding.subject)) for finding in findings[:LISTED]]
    if len(findings) > LISTED:
        results.append(failure(f"{len(findings) - LISTED} more", "chatgpt-agent ledger verify"))
    return results


def _of_finding(finding: Finding, user: str | None) -> Result:
    if finding.check == "openai key" and user is not None:
        return failure(f"it does not open the OpenAI key of user {user}", f"chatgpt-agent user set-key {user}")
    return failure(f"{finding.subject}: {finding.text}")


async def check_agents(examination: Examination) -> list[Result]:
    """Every agent that runs ships its rows, and all are of one version."""
    now = datetime.now(UTC)
    agents = [agent for agent in await agent_states(examination.store) if agent.runs(now)]
    results = [
        warning(f"agent {agent.id}: {_waiting(agent)}", "see the log of that agent")
        for agent in agents
        if agent.backlog and agent.oldest_at and (now - agent.oldest_at).total_seconds() > WAITING_SECONDS
    ]
    versions = sorted({agent.version for agent in agents if agent.version})
    if len(versions) > 1:
        results.append(warning(f"agents of different versions run: {', '.join(versions)}", "upgrade all of them"))
    return results or [ok(f"{counted(len(agents), 'agent runs', 'agents run')} on this database")]


def _waiting(agent: AgentState) -> str:
    rows = counted(agent.backlog, "row waits", "rows wait")
    return f"{rows} to be shipped since {show_minute(agent.oldest_at)} UTC"


async def check_dead_letters(examination: Examination) -> list[Result]:
    """PostgreSQL has refused no row."""
    count = await count_dead_letters(examination.store)
    if count:
        text = f"PostgreSQL has refused {counted(count, 'row')}, whose cost is missing in the ledger"
        return [failure(text, "they are whole in the table dead_letters: report this bug")]
    return [ok("there are none")]


async def check_last_verify(examination: Examination) -> list[Result]:
    """`ledger verify` was run in the last days, without a finding."""
    last = (await last_checks(examination.store)).get(VERIFY)
    command = "chatgpt-agent ledger verify"
    if last is None:
        if not await has_rows(examination.store):
            return [ok("the ledger has no row yet")]
        return [warning("the ledger was never checked", f"{command}, best every night")]
    at = show_minute(last.at)
    if last.findings:
        return [failure(f"the check of {at} UTC has {counted(last.findings, 'finding')}: {last.summary}", command)]
    if datetime.now(UTC) - last.at > timedelta(days=PROOF_DAYS):
        return [warning(f"the last check of the ledger was at {at} UTC", f"{command}, best every night")]
    return [ok(f"no finding at {at} UTC")]


async def check_backup(examination: Examination) -> list[Result]:
    """There is a backup of the last days."""
    last = await last_backup(examination.store)
    advice = "chatgpt-agent backup FILE, best every night (or `--skip backup`, if another program makes backups)"
    if last is None:
        if not await has_rows(examination.store):
            return [ok("the ledger has no row yet")]
        return [warning("no backup has been recorded", advice)]
    text = f"the last backup was made at {show_minute(last.at)} UTC: {last.path} on {last.host}"
    return [warning(text, advice) if datetime.now(UTC) - last.at > BACKUP_AGE else ok(text)]
