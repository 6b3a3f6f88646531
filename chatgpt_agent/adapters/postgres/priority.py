"""Lets a server process on this machine leave the processors to others."""

import contextlib
import os
import socket
import struct
from pathlib import Path

from psycopg2.extensions import connection

NICE = 10  # about a ninth of the processor time of another process, where both want it (sched(7))


def lower_priority(raw: connection) -> None:
    """Lowers the priority of the process that serves a connection over a Unix socket, if this process may do that, as
    where the agent has started its own PostgreSQL. Does nothing for any other server."""
    process = raw.info.backend_pid
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(raw.fileno())) as connected:
        if connected.family != socket.AF_UNIX:
            return
        # The peer is the process that listens. A pooler's process numbers are invented, and are not its children.
        listening, _, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if _parent(process) == listening:
            os.setpriority(os.PRIO_PROCESS, process, NICE)


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])  # proc_pid_stat(5)
