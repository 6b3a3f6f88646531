"""What is wrong with an outbox that cannot be opened, and what to do."""

import os
import sqlite3

_PERMISSION = "the agent's account must be able to read and write it and its folder"
_DAMAGED = "move it away, or restore it from a backup: rows that were not shipped are only there (docs/operations.md)"
_DISK = "see whether its disk is full or broken (df, dmesg)"

# By SQLite's primary result code (https://sqlite.org/rescode.html).
_ADVICE = {
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_IOERR: _DISK,
    sqlite3.SQLITE_FULL: _DISK,
    sqlite3.SQLITE_READONLY: _PERMISSION,
    sqlite3.SQLITE_CANTOPEN: "its folder must be writable, and the limit of open files (ulimit -n) high enough",
}


def describe_fault(error: Exception) -> str:
    """Returns on one line what an error of the file system or of SQLite means for an outbox."""
    if isinstance(error, OSError):
        text = os.strerror(error.errno) if error.errno else str(error)
        return f"{text}: {_PERMISSION}" if isinstance(error, PermissionError) else text
    advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    return f"{error}: {advice}" if advice else str(error)
