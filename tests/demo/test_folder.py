"""The folder of the demonstration ends with its process."""

import os
import subprocess
import sys

from tests.support.demo import processes_below
from tests.support.postgres_server import server_folder

KILLED = """
import os, signal
from chatgpt_agent import process
from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from chatgpt_agent.demo.folder import POSTGRES, temporary_folder
process.prepare()
with temporary_folder() as folder, EmbeddedPostgres(folder / POSTGRES):
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_process_leaves_no_server_and_no_folder() -> None:
    """A child of it stops PostgreSQL and deletes everything; its output ends then."""
    with server_folder() as folder:
        environ = {**os.environ, "TMPDIR": str(folder)}
        done = subprocess.run([sys.executable, "-c", KILLED], env=environ, capture_output=True, text=True, check=False)
        assert done.stdout.startswith(f"{folder}/chatgpt-agent-demo-"), done.stderr
        assert list(folder.iterdir()) == []
        assert processes_below(folder) == []
