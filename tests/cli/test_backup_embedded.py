"""Backups of an embedded PostgreSQL, while the agent runs and while it does not."""

from pathlib import Path

import pytest

from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from tests.support.backups import manifest
from tests.support.commands import KEY, Cli, stored_key
from tests.support.database import query
from tests.support.serving import Serve, chat, postmaster, with_user
from tests.support.upstream import Upstream
from tests.support.waiting import until

pytestmark = pytest.mark.slow


async def test_embedded_database_is_backed_up_and_restored(embedded: Cli, folder: Path, upstream: Upstream) -> None:
    """Beside the agent and without it; the check and the restore start a server of their own."""
    embedded.settings["OPENAI_URL"] = upstream.url
    async with Serve(embedded.settings) as agent:
        url = await agent.ready()
        token = await with_user(embedded)
        await until(lambda: chat(url, token), lambda answer: answer.status == 200)
        await embedded.in_thread("backup", str(folder / "beside.tar"))
        assert manifest(folder / "beside.tar")["outbox"]["agent_id"]
        assert await agent.stopped() == 0
    assert not postmaster(folder).exists()
    passphrase = folder / "passphrase"
    passphrase.write_text("made-up passphrase")
    passphrase.chmod(0o600)
    key = ("--with-key", "--passphrase-file", str(passphrase))
    await embedded.in_thread("backup", str(folder / "b.tar"), *key)
    assert not postmaster(folder).exists()
    other = Cli({**embedded.settings, "DATA_DIR": str(folder / "other")})
    assert "can be restored" in await other.in_thread("restore", str(folder / "b.tar"), "--check")
    assert not (folder / "other").exists()
    text = await other.in_thread("restore", str(folder / "b.tar"), *key)
    assert "Ledger: 1 rows" in text
    with EmbeddedPostgres(folder / "other" / "postgres") as dsn:
        assert query(dsn, "SELECT count(*) FROM usage") == [(1,)]
        assert stored_key(Cli({"DATABASE_URL": dsn, "DATA_DIR": str(folder / "other")})) == KEY
