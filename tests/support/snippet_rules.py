"""How each block of code in the documentation is tested. A block that nothing here is for fails
tests/test_every_snippet.py.

YAML, JSON, TOML, CSV and crontabs are parsed by tests/test_snippets.py, and so is each command of ours, which is enough
for a block of `sh`; one of `console` has output, too, which a test compares. What a test runs stands in RUN, and what
none can run in NOT_RUN, with the reason.
"""

from typing import NamedTuple

from tests.support.snippets import Snippet, shell_lines, simple_commands

PARSED = {"yaml", "json", "toml", "csv", "crontab"}
OUTPUT = {"text"}


class Rule(NamedTuple):
    """A block, by its page, its language and what it begins with; and the test that runs it, or why none does."""

    page: str
    language: str
    start: str
    value: str

    def matches(self, snippet: Snippet) -> bool:
        """Whether a block is the one of this rule."""
        return (self.page, self.language) == (snippet.page, snippet.language) and snippet.text.startswith(self.start)


FIVE_MINUTES = "tests/test_five_minutes.py::test_five_minutes"
SAME_CODE = "tests/test_readme.py::test_both_languages_have_the_same_code"
PROXIES = "tests/web/test_reverse_proxies.py::test_proxy_passes_what_the_agent_serves"
CLIENTS = "tests/web/test_client_snippets.py"
ANSWERS = f"{CLIENTS}::test_answers_are_those_of_the_page"
PGBOUNCER = "tests/web/test_pgbouncer.py::test_configuration_of_the_page_works"
EVERY = "tests/test_every_snippet.py"
EXAMPLES = "tests/cli/test_page_examples.py"
RECONCILED = "tests/cli/test_reconcile_example.py::test_example_is_what_the_command_prints"
SAME_CONSOLE = f"{SAME_CODE.removesuffix('code')}console_commands"
UNITS = f"{EVERY}::test_systemd_accepts_the_units"

RUN = [
    Rule("README.md", "console", "$ chatgpt-agent", FIVE_MINUTES),
    Rule("README.md", "console", "$ export TOKEN", FIVE_MINUTES),
    Rule("README.md", "python", "import os", FIVE_MINUTES),
    Rule("README.zh-CN.md", "console", "$ chatgpt-agent", SAME_CONSOLE),
    Rule("README.zh-CN.md", "console", "$ export TOKEN", SAME_CONSOLE),
    Rule("README.zh-CN.md", "python", "import os", SAME_CODE),
    Rule("docs/admin-api.md", "console", "$ echo", f"{CLIENTS}::test_first_steps_of_the_rest_api_work"),
    Rule("docs/admin-api.md", "console", '$ curl -H @auth "$B/user-import', ANSWERS),
    Rule("docs/admin-api.md", "console", '$ curl -H @auth "$B/price-import', ANSWERS),
    Rule("docs/admin-api.md", "console", '$ curl -H @auth "$B/ledger', ANSWERS),
    Rule("docs/admin-api.md", "console", "$ curl -H @auth $B/admins", ANSWERS),
    Rule("docs/admin-api.md", "console", "$ chatgpt-agent admin", f"{EXAMPLES}::test_admins"),
    Rule("docs/admin-api.md", "console", "$ chatgpt-agent audit", f"{EXAMPLES}::test_admins"),
    Rule("docs/budgets.md", "console", "$ chatgpt-agent budget", f"{EXAMPLES}::test_budgets"),
    Rule("docs/clients.md", "sh", "curl http", f"{CLIENTS}::test_curl_works"),
    Rule("docs/clients.md", "python", "from openai import", f"{CLIENTS}::test_python_sdk_works"),
    Rule("docs/clients.md", "python", "from langchain", f"{CLIENTS}::test_langchain_works"),
    Rule("docs/clients.md", "js", "import OpenAI", f"{CLIENTS}::test_node_sdk_works"),
    Rule("docs/deployment.md", "sql", "CREATE ROLE", "tests/test_snippets.py::test_sql_creates_role_and_database"),
    Rule("docs/install.md", "sh", "sudo -u postgres", f"{EVERY}::test_database_of_the_installation_is_created"),
    Rule("docs/operations/backup.md", "ini", "# /etc/systemd", UNITS),
    Rule("docs/operations/distributed.md", "sql", "SELECT undist", f"{EVERY}::test_trigger_is_the_one_of_the_schema"),
    Rule("docs/operations/pgbouncer.md", "ini", "[databases]", PGBOUNCER),
    Rule("docs/operations/pgbouncer.md", "sql", "SELECT format", PGBOUNCER),
    Rule("docs/operations/retention.md", "sql", "CREATE TABLE", f"{EVERY}::test_psql_reads_an_archive"),
    Rule("docs/operations/scaling.md", "haproxy", "defaults", f"{EVERY}::test_haproxy_accepts_the_balancer"),
    Rule("docs/operations/service.md", "ini", "[Service]", UNITS),
    Rule("docs/prices.md", "console", "$ chatgpt-agent price", f"{EXAMPLES}::test_prices"),
    Rule("docs/prices.md", "console", "$ curl -LO", f"{EXAMPLES}::test_price_list"),
    Rule("docs/reconcile.md", "console", "$ chatgpt-agent ledger", RECONCILED),
    Rule("docs/reports.md", "console", "$ curl", ANSWERS),
    Rule("docs/reverse-proxies.md", "nginx", "map", PROXIES),
    Rule("docs/reverse-proxies.md", "haproxy", "defaults", PROXIES),
    Rule("docs/reverse-proxies.md", "caddy", "agent.example.com", PROXIES),
    Rule("docs/users.md", "console", "$ chatgpt-agent user add", f"{EXAMPLES}::test_users_and_tokens"),
    Rule("docs/users.md", "console", "$ chatgpt-agent token", f"{EXAMPLES}::test_users_and_tokens"),
    Rule("docs/users.md", "console", "$ chatgpt-agent user import", f"{EXAMPLES}::test_user_import"),
    Rule("docs/users.md", "console", "$ curl -X POST", ANSWERS),
]

NOT_RUN = [
    Rule("docs/legacy-import.md", "console", "table", "counts of a large database; tests/cli/test_legacy.py runs it"),
    Rule(
        "docs/operations/backup.md", "console", "$ chatgpt-agent", "of a large ledger; tests/cli/test_backup.py has it"
    ),
    Rule("benchmarks/README.md", "python", "# gateway.py", "needs TensorZero, which is not installed; compiled"),
    Rule("benchmarks/README.md", "python", "# endpoint.py", "needs MLflow, which is not installed; compiled"),
]

# Programs in commands that no test runs as they stand, and why. Names of files and extras in them are checked all the
# same.
OTHER_PROGRAMS = {
    "aider": "not installed with the tests",
    ".": "reads a file of the shell",
    "alias": "a short name; the commands that use it are parsed",
    "apt-get": "installs packages of the system",
    "codex": "runs where it is installed: tests/web/test_codex.py",
    "docker": "needs a container engine",
    "echo": "writes a line",
    "export": "sets a variable",
    "git": "changes a checkout",
    "head": "reads random bytes",
    "base64": "writes them as text",
    "install": "writes files of the system",
    "journalctl": "needs a service of systemd; what it looks for is in the program",
    "pip": "installs packages",
    "pipx": "loads a program from a registry",
    "podman": "needs a container engine",
    "python": "starts the programs of this checkout, which have tests of their own",
    "scripts/check": "would run these tests",
    "set": "an option of the shell",
    "ssh": "needs another machine",
    "systemctl": "changes services of the machine",
    "umask": "a setting of the shell",
    "useradd": "changes accounts of the machine",
    "cd": "changes the folder",
}


def untested(snippet: Snippet) -> str:
    """Returns what of a block no test covers, or ""."""
    if snippet.language in PARSED | OUTPUT or any(rule.matches(snippet) for rule in [*RUN, *NOT_RUN]):
        return ""
    if snippet.language != "sh":
        return f"a block of {snippet.language}"
    names = {name for line in shell_lines(snippet) for args in simple_commands(line) if (name := program(args))}
    return ", ".join(sorted(names - OTHER_PROGRAMS.keys() - {"chatgpt-agent"}))


def program(args: list[str]) -> str:
    """Returns the program that a command runs, without its folder and version; "" for assignments alone."""
    while args and "=" in args[0] and not args[0].startswith("-"):
        args = args[1:]
    if args[:2] == ["sudo", "-u"]:
        args = args[3:]
    if not args or args[0] in ("{", "}", "<", ">"):
        return ""
    name = args[0].removeprefix("(").removeprefix(".venv/bin/").removeprefix("/opt/chatgpt-agent/bin/")
    return {"python3": "python", "agent": "chatgpt-agent"}.get(name.removeprefix("../old/"), name)
