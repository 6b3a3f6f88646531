"""The metrics of the process."""

import os
import time
from pathlib import Path

from chatgpt_agent.web.exposition import OwnProcess


def test_process_is_measured_where_most_of_proc_is_hidden(tmp_path: Path) -> None:
    """The unit for systemd hides /proc/stat."""
    (tmp_path / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
    collector = OwnProcess(proc=str(tmp_path), pid=os.getpid, registry=None)
    values = {family.name: family.samples[0].value for family in collector.collect()}
    assert values["process_resident_memory_bytes"] > 1_000_000
    assert values["process_open_fds"] > 0
    assert time.time() - 86400 < values["process_start_time_seconds"] < time.time() + 2
