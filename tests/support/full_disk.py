"""Faults of the machine: a full disk, and an account without rights."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

UNPRIVILEGED = 65534  # the user id of Linux for processes without rights


@contextmanager
def full_disk() -> Iterator[None]:
    """Lets every write to a file of this process fail (EFBIG in place of ENOSPC); Python ignores SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def without_root() -> Iterator[None]:
    """Drops root's rights: this process acts as the system account for unprivileged programs."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(UNPRIVILEGED)
    try:
        yield
    finally:
        os.seteuid(0)
