"""PostgreSQL's programs: which one is taken, and what of a connection string others can see."""

from pathlib import Path

import pytest

from chatgpt_agent.adapters.postgres.programs import Program, dump, find_program, restore
from chatgpt_agent.core.errors import SetupError

DSN = "host=/nowhere user=agent password='made up' dbname=books"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A program that writes down its arguments and its password."""
    path = tmp_path / "pg_dump"
    path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" "$PGPASSWORD" > {tmp_path}/seen\ncat > /dev/null\necho dump\n')
    path.chmod(0o700)
    return Program(path, 18, "18.1")


def test_password_is_not_on_the_command_line(program: Program, tmp_path: Path) -> None:
    """Every account can read that; the environment only the own one."""
    pieces: list[bytes] = []
    dump(program, DSN, snapshot="1-2-3", schema='a"b', write=pieces.append)
    *arguments, password = (tmp_path / "seen").read_text().splitlines()
    assert (b"".join(pieces), password) == (b"dump\n", "made up")
    assert not any("made up" in argument for argument in arguments)
    assert arguments[:3] == ["--format=custom", "--snapshot=1-2-3", '--schema="a""b"']


def test_missing_program_is_named_with_what_to_install() -> None:
    """One line."""
    with pytest.raises(SetupError, match=r"^no_such_program is missing: install postgresql-client-18 .*\[embedded\]'$"):
        find_program("no_such_program", 18)


def test_program_that_is_too_old_is_named_with_what_to_install() -> None:
    """pg_dump refuses a server that is newer."""
    with pytest.raises(SetupError, match=r"^pg_dump \d+\S* \(/.*\) is too old for PostgreSQL 99: install "):
        find_program("pg_dump", 99)


def test_program_of_the_own_version_is_preferred(postgres: str) -> None:
    """It comes with the wheel."""
    assert find_program("pg_dump", 18).major == 18


def test_failed_dump_has_the_reason_of_the_program(tmp_path: Path) -> None:
    """Its first error, in one line, without the password."""
    with pytest.raises(SetupError) as caught:
        dump(find_program("pg_dump", 18), DSN, snapshot="1", schema=None, write=len)
    assert str(caught.value).startswith("pg_dump 18.")
    assert "No such file or directory" in str(caught.value)
    assert "made up" not in str(caught.value)


def test_restore_ends_where_the_program_has_failed() -> None:
    """It reads no more than it needs; its reason counts, and not the broken pipe."""
    with pytest.raises(SetupError, match=r"^pg_restore 18\S* failed: unsupported version"):
        restore(find_program("pg_restore", 18), DSN, schema=None, pieces=[b"PGDMP" + bytes(1_000_000)] * 3)
