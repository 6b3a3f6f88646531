"""Invalid command lines and texts, and closed output: no traceback."""

from subprocess import PIPE, Popen

import pytest

from tests.support.commands import KEY, PROGRAM, Cli, environ_with

NO_TEXT = b"\xff\xfe".decode("utf-8", "surrogateescape")  # as Python decodes bytes that are not UTF-8

BAD_COMMANDS = [
    ["no-such-command"],
    ["user"],
    ["user", "no-such-command"],
    ["--config", "x", "user", "list"],
    ["user", "list", "extra"],
    ["user", "list", "--no-such-option"],
    ["user", "add"],
    ["user", "add", "a", "b"],
    ["user", "add", "alice", "--json", "--json=1"],
    ["user", "show", NO_TEXT],
    ["user", "add", NO_TEXT, "--openai-key-stdin"],
    ["user", "disable", NO_TEXT],
    ["user", "set-key", NO_TEXT, "--openai-key-stdin"],
    ["user", "show", "x" * 100_000],
    ["user", "show", "'; DROP TABLE users; --"],
    ["user", "show", "%s"],
    ["token"],
    ["token", "issue"],
    ["token", "issue", NO_TEXT],
    ["token", "issue", "alice", "--label"],
    ["token", "list", NO_TEXT],
    ["token", "list", "a", "b"],
    ["token", "revoke"],
    ["token", "revoke", NO_TEXT],
    ["price"],
    ["price", "set"],
    ["price", "set", "m"],
    ["price", "set", NO_TEXT, "--input", "1", "--output", "1"],
    ["price", "set", "m", "--input", NO_TEXT, "--output", "1"],
    ["price", "set", "m", "--input", "1" * 100_000, "--output", "1"],
    ["price", "set", "m", "--input", "1", "--output", "1", "--from", NO_TEXT],
    ["price", "remove"],
    ["price", "remove", NO_TEXT],
    ["price", "set", "m", "--input", "1", "--output", "1", "--tier", NO_TEXT],
    ["price", "set", "m", "--input", "1", "--output", "1", "--tier", "above=" + "9" * 100_000 + ":x1"],
    ["price", "import"],
    ["price", "import", NO_TEXT],
    ["price", "import", "/dev/null"],
    ["price", "import", "/dev/zero"],
    ["price", "export", "m"],
    ["price", "what-if"],
    ["price", "what-if", "--since", NO_TEXT],
    ["price", "what-if", "--all", "--since", "2026-11-01", "--as-model", NO_TEXT],
    ["price", "what-if", "--model", NO_TEXT, "--since", "2026-11-01", "--input", NO_TEXT],
    ["price", "list", "m"],
    ["price", "check"],
    ["price", "check", NO_TEXT],
    ["price", "check", "/dev/zero"],
    ["price", "check", "-", "--region", NO_TEXT],
    ["price", "surcharge"],
    ["price", "surcharge", "set", "web_search"],
    ["price", "surcharge", "set", "web_search", NO_TEXT],
    ["price", "surcharge", "set", "web_search", "1" * 100_000],
    ["price", "surcharge", "set", "web_search", "1e-99999999999999999999", "--per-1000"],
    ["price", "surcharge", "set", "web_search", "1", "--model", NO_TEXT],
    ["price", "surcharge", "set", "multiplier", "1", "--host", NO_TEXT],
    ["price", "surcharge", "set", "web_search", "1", "--from", NO_TEXT],
    ["price", "surcharge", "cancel", "0"],
    ["usage"],
    ["usage", "report", "--by", NO_TEXT],
    ["usage", "report", "--since", NO_TEXT],
    ["usage", "report", "--format", NO_TEXT],
    ["usage", "report", "--since"],
    ["migrate", "1"],
    ["migrate", "--rollback"],
    ["serve", "now"],
    ["serve", "--config", NO_TEXT],
]


@pytest.mark.parametrize("args", BAD_COMMANDS, ids=lambda args: ascii(" ".join(args))[:50])
def test_bad_command_line_never_prints_a_traceback(shared_cli: Cli, args: list[str]) -> None:
    """The exit code is 1 or 2, and the last line says why."""
    result = shared_cli.run(*args, stdin=KEY)  # raises what is not handled
    assert result.exit_code in (1, 2)
    assert result.stderr.strip()
    assert "Traceback" not in result.output


def test_bytes_that_are_not_text_are_one_line(shared_cli: Cli) -> None:
    """A process ends with exit code 1, and without a traceback."""
    done = shared_cli.process("user", "show", b"\xff")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, b"", 1)


def test_key_that_is_not_text_is_one_line(shared_cli: Cli) -> None:
    """Standard input may be decoded strictly."""
    shared_cli.settings["PYTHONIOENCODING"] = "utf-8:strict"
    done = shared_cli.process("user", "add", "alice", "--openai-key-stdin", stdin=b"\xff\n")
    del shared_cli.settings["PYTHONIOENCODING"]
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_closed_output_prints_no_error(cli: Cli) -> None:
    """`chatgpt-agent user list | head -0` shows no traceback."""
    with Popen([*PROGRAM, "user", "list"], stdout=PIPE, stderr=PIPE, env=environ_with(cli.settings)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
