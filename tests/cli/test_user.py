"""`chatgpt-agent user`."""

import json

import pytest

from chatgpt_agent.adapters.postgres.users import UserRow
from chatgpt_agent.core.access.tokens import is_well_formed
from tests.support.commands import KEY, Cli, names, show, stored_key
from tests.support.database import connected

# user add


def test_add_prints_the_token_alone_on_the_last_line(cli: Cli) -> None:
    """`token=$(chatgpt-agent user add alice | tail -n 1)` works."""
    out = cli.ok("user", "add", "alice", "--openai-key-stdin", stdin=f"{KEY}\n")
    assert is_well_formed(out.splitlines()[-1])


def test_add_prints_the_token_once(cli: Cli) -> None:
    """The token is printed once, over both streams."""
    result = cli.run("user", "add", "alice", "--openai-key-stdin", stdin=KEY)
    assert result.output.count("cga_") == 1


def test_add_prints_json(cli: Cli) -> None:
    """The JSON has the user, the token and its id, and nothing else is printed."""
    result = cli.run("user", "add", "alice", "--openai-key-stdin", "--json", stdin=KEY)
    printed = json.loads(result.output)
    assert printed.keys() == {"user", "token", "id"}
    assert is_well_formed(printed["token"])


def test_add_stores_the_key(cli: Cli) -> None:
    """The piped key is stored without its line end."""
    cli.ok("user", "add", "alice", "--openai-key-stdin", stdin=f"{KEY}\r\n")
    assert stored_key(cli) == KEY


def test_add_reads_the_first_line_of_a_pipe(cli: Cli) -> None:
    """Later lines are not a part of the key."""
    cli.ok("user", "add", "alice", "--openai-key-stdin", stdin=f"{KEY}\nsomething else\n")
    assert stored_key(cli) == KEY


@pytest.mark.parametrize("args", [(KEY,), ("--openai-key", KEY), (f"--openai-key-stdin={KEY}",)])
def test_add_accepts_no_key_on_the_command_line(shared_cli: Cli, args: tuple[str, ...]) -> None:
    """Every account of the machine could read it there."""
    shared_cli.refused("user", "add", "alice", *args, code=2)
    assert names(shared_cli) == []


def test_add_without_a_terminal_names_the_option(shared_cli: Cli) -> None:
    """Without a terminal for the prompt, the error names --openai-key-stdin."""
    lines = shared_cli.refused("user", "add", "alice", code=2)
    assert [line for line in lines if "Error" in line] == [lines[-1]]
    assert "--openai-key-stdin" in lines[-1]


def test_add_rejects_an_existing_name(cli: Cli) -> None:
    """The error is one line, and the exit code is 1."""
    cli.add_user("alice")
    lines = cli.refused("user", "add", "alice", "--openai-key-stdin", stdin=KEY)
    assert lines == ["Error: user 'alice' already exists"]


def test_add_of_an_existing_name_changes_nothing(cli: Cli) -> None:
    """The user keeps the key and gets no second token."""
    cli.add_user("alice")
    cli.run("user", "add", "alice", "--openai-key-stdin", stdin="sk-another")
    assert (stored_key(cli), len(show(cli)["tokens"])) == (KEY, 1)


@pytest.mark.parametrize(
    "name", ["", " alice", "alice ", "a\nb", "a\tb", "x" * 129, "\x1b[31m", "a\u202eb", "a\u2028b"]
)
def test_add_rejects_a_name_that_breaks_a_table(shared_cli: Cli, name: str) -> None:
    """Empty, too long, spaces at the ends, or characters that are not printable."""
    lines = shared_cli.refused("user", "add", "--openai-key-stdin", "--", name, stdin=KEY)
    assert len(lines) == 1
    assert lines[0].startswith("Error: name: ")


@pytest.mark.parametrize(
    "name", ["Ünï cödé", "名前", "x" * 128, "=cmd()", "-v", "a'b\"c", "%s", "Robert'); DROP TABLE users;--"]
)
def test_add_accepts_every_other_name(cli: Cli, name: str) -> None:
    """The list shows the name as it was given."""
    cli.ok("user", "add", "--openai-key-stdin", "--", name, stdin=KEY)
    assert names(cli) == [name]


@pytest.mark.parametrize("key", ["", "\n", "sk two args", "sk-é", "sk-\x07bell", "x" * 513, b"\xff\xfe"])
def test_add_rejects_an_invalid_key(shared_cli: Cli, key: str | bytes) -> None:
    """The error is one line that does not repeat the key."""
    lines = shared_cli.refused("user", "add", "alice", "--openai-key-stdin", stdin=key)
    assert lines == ["Error: the OpenAI key must be 1 to 512 printable ASCII characters without spaces"]


def test_rejected_key_leaves_no_user(shared_cli: Cli) -> None:
    """Nothing is added."""
    shared_cli.run("user", "add", "alice", "--openai-key-stdin", stdin="not a key")
    assert names(shared_cli) == []


# user list, user show, user disable, user enable, user set-key


def test_list_without_users_is_an_empty_table(shared_cli: Cli) -> None:
    """An empty table has its headings."""
    assert shared_cli.ok("user", "list").split("\n")[0].split() == [
        "name",
        "state",
        "tokens",
        "models",
        "limits",
        "comment",
        "since",
    ]


def test_list_sorts_users_by_name(cli: Cli) -> None:
    """The list shows state and number of tokens."""
    for name in ("zoe", "alice"):
        cli.add_user(name)
    cli.ok("user", "disable", "zoe")
    lines = cli.ok("user", "list").splitlines()[2:]
    assert [line.split()[:3] for line in lines] == [["alice", "active", "1"], ["zoe", "disabled", "1"]]


def test_list_in_json_has_no_key(cli: Cli) -> None:
    """The JSON has every field of a user but the key."""
    cli.add_user("alice")
    [user] = json.loads(cli.ok("user", "list", "--json"))
    assert user.keys() == set(UserRow.__struct_fields__)
    assert "upstream_key" not in user


def test_show_lists_the_tokens(cli: Cli) -> None:
    """Each token is shown by its first characters."""
    token = cli.add_user("alice")
    out = cli.ok("user", "show", "alice")
    assert f"{token[:8]}…" in out
    assert token not in out


def test_show_prints_json(cli: Cli) -> None:
    """The JSON has the user and the tokens."""
    token = cli.add_user("alice")
    printed = show(cli)
    assert printed["user"]["name"] == "alice"
    assert [one["token_prefix"] for one in printed["tokens"]] == [token[:8]]


def test_disable_and_enable_change_the_state(cli: Cli) -> None:
    """A user is disabled and enabled again."""
    cli.add_user("alice")
    cli.ok("user", "disable", "alice")
    assert show(cli)["user"]["disabled_at"] is not None
    cli.ok("user", "enable", "alice")
    assert show(cli)["user"]["disabled_at"] is None


def test_second_disable_keeps_the_first_date(cli: Cli) -> None:
    """The date says since when the user's tokens are rejected."""
    cli.add_user("alice")
    cli.ok("user", "disable", "alice")
    first = show(cli)["user"]["disabled_at"]
    cli.ok("user", "disable", "alice")
    assert show(cli)["user"]["disabled_at"] == first


@pytest.mark.parametrize("args", [("disable",), ("enable",), ("set-key", "--openai-key-stdin"), ("remove", "--yes")])
def test_change_prints_the_user_as_json(cli: Cli, args: tuple[str, ...]) -> None:
    """The JSON shows the user after the change."""
    cli.add_user("alice")
    printed = json.loads(cli.ok("user", args[0], "alice", *args[1:], "--json", stdin=KEY))
    assert printed == show(cli)["user"]


def test_set_key_replaces_the_key(cli: Cli) -> None:
    """The user's tokens stay."""
    cli.add_user("alice")
    before = show(cli)["tokens"]
    cli.ok("user", "set-key", "alice", "--openai-key-stdin", stdin="sk-new")
    assert (stored_key(cli), show(cli)["tokens"]) == ("sk-new", before)


def test_set_key_rejects_an_invalid_key(cli: Cli) -> None:
    """The old key stays."""
    cli.add_user("alice")
    cli.refused("user", "set-key", "alice", "--openai-key-stdin", stdin="not a key")
    assert stored_key(cli) == KEY


@pytest.mark.parametrize("command", ["show", "disable", "enable", "set-key", "set --rpm=1", "remove"])
def test_unknown_name_is_one_line(shared_cli: Cli, command: str) -> None:
    """The exit code is 1, before any prompt."""
    assert shared_cli.refused("user", *command.split(), "dora") == ["Error: there is no user 'dora'"]


# user set, user remove


def test_set_changes_only_the_given_settings(cli: Cli) -> None:
    """Other settings stay."""
    cli.ok("user", "add", "alice", "--openai-key-stdin", "--comment", "Sales", "--rpm", "60", stdin=KEY)
    cli.ok("user", "set", "alice", "--models", "gpt-6*, gpt-5.5", "--tpm", "1000", "--concurrency", "2")
    user = show(cli)["user"]
    assert (user["comment"], user["allowed_models"]) == ("Sales", ["gpt-6*", "gpt-5.5"])
    assert (user["rpm"], user["tpm"], user["concurrency"]) == (60, 1000, 2)


def test_set_with_an_empty_value_removes_a_setting(cli: Cli) -> None:
    """The user then has no comment, no limit, and all models."""
    cli.ok(
        "user", "add", "alice", "--openai-key-stdin", "--comment", "Sales", "--rpm", "60", "--models", "m", stdin=KEY
    )
    cli.ok("user", "set", "alice", "--comment", "", "--rpm", "", "--models", "")
    user = show(cli)["user"]
    assert (user["comment"], user["rpm"], user["allowed_models"]) == ("", None, None)


def test_standard_tier_only_is_set_and_shown(cli: Cli) -> None:
    """The setting is false by default, and stays where it is not named."""
    cli.add_user("alice")
    assert show(cli)["user"]["standard_tier_only"] is False
    assert "standard tier only" in cli.ok("user", "set", "alice", "--standard-tier-only", "--rpm", "5")
    cli.ok("user", "set", "alice", "--rpm", "60")
    assert show(cli)["user"]["standard_tier_only"] is True
    assert "5 rpm, standard tier only" not in cli.ok("user", "list")
    assert "60 rpm, standard tier only" in cli.ok("user", "list")
    assert "standard tier" not in cli.ok("user", "set", "alice", "--no-standard-tier-only")
    cli.ok("user", "add", "bob", "--standard-tier-only", "--openai-key-stdin", stdin=KEY)
    assert show(cli, "bob")["user"]["standard_tier_only"] is True


def test_set_prints_the_changed_user(cli: Cli) -> None:
    """The command prints the user as a table, or as JSON."""
    cli.add_user("alice")
    out = cli.ok("user", "set", "alice", "--rpm", "60", "--concurrency", "3", "--models", "gpt-6*")
    assert "gpt-6*" in out
    assert "60 rpm, 3 at once" in out
    assert json.loads(cli.ok("user", "set", "alice", "--tpm", "9", "--json")) == show(cli)["user"]


def test_set_requires_a_setting(shared_cli: Cli) -> None:
    """The exit code is 2 if no setting is set."""
    assert "nothing to change" in shared_cli.refused("user", "set", "alice", code=2)[-1]


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many", "9" * 30, "٣"])
def test_set_rejects_a_limit_that_is_not_a_whole_number(shared_cli: Cli, number: str) -> None:
    """The exit code is 2."""
    assert "is not a whole number" in shared_cli.refused("user", "set", "alice", f"--rpm={number}", code=2)[-1]


def test_remove_keeps_the_name_and_destroys_the_key(cli: Cli) -> None:
    """The list still shows the user, and the name cannot be used again."""
    cli.add_user("alice")
    assert cli.ok("user", "remove", "alice", "--yes") == "User alice has been removed.\n"
    with connected(cli.settings["DATABASE_URL"]) as cursor:
        cursor.execute("SELECT length(upstream_key) FROM users")
        assert cursor.fetchall() == [(0,)]
    assert "removed" in cli.ok("user", "list")
    day = show(cli)["user"]["removed_at"][:10]
    assert cli.refused("user", "add", "alice", "--openai-key-stdin", stdin=KEY) == [
        f"Error: user 'alice' was removed on {day}, and the name stays with the rows: choose "
        "another name, or rename the removed user first (`user rename`)"
    ]


def test_renamed_user_leaves_the_name_free(cli: Cli) -> None:
    """A removed user can be renamed, too."""
    cli.add_user("alice")
    cli.ok("user", "remove", "alice", "--yes")
    assert cli.ok("user", "rename", "alice", "alice.2026") == "User alice is now alice.2026.\n"
    cli.add_user("alice")
    assert names(cli) == ["alice", "alice.2026"]


def test_rename_keeps_key_tokens_and_budgets(cli: Cli) -> None:
    """They belong to the user, not to the name."""
    cli.add_user("alice")
    cli.ok("budget", "set", "5", "--user", "alice")
    cli.ok("user", "rename", "alice", "bob")
    assert stored_key(cli, "bob") == KEY
    assert [token["user"] for token in show(cli, "bob")["tokens"]] == ["bob"]
    assert "bob" in cli.ok("budget", "list", "bob")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("alice", "bob", "user 'bob' already exists"),
        ("alice", "alice", "user 'alice' has this name already"),
        ("carol", "dora", "there is no user 'carol'"),
        ("alice", '"carol"', "name: '\"carol\"' has quotation marks around it: give it without them"),
    ],
)
def test_rename_is_refused(cli: Cli, old: str, new: str, message: str) -> None:
    """The error is one line, and both users keep their names."""
    cli.add_user("alice")
    cli.add_user("bob")
    assert cli.refused("user", "rename", old, new) == [f"Error: {message}"]
    assert names(cli) == ["alice", "bob"]


def test_set_key_of_all_users(cli: Cli) -> None:
    """Removed users get no key."""
    for name in ("alice", "bob", "carol"):
        cli.add_user(name)
    cli.ok("user", "remove", "carol", "--yes")
    out = cli.ok("user", "set-key", "--all", "--openai-key-stdin", stdin=f"{KEY}-2")
    assert out == "The OpenAI keys of 2 users have been replaced.\n"
    assert [stored_key(cli, name) for name in ("alice", "bob")] == [f"{KEY}-2"] * 2


def test_set_keys_of_a_file(cli: Cli) -> None:
    """Only the users in the file get another key."""
    for name in ("alice", "bob", "carol"):
        cli.add_user(name)
    cli.ok("user", "set-key", "--csv", "-", stdin=f"openai_key,name\n{KEY}-a,alice\n{KEY}-b,bob\n")
    assert [stored_key(cli, name)[len(KEY) :] for name in ("alice", "bob", "carol")] == ["-a", "-b", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"name,openai_key\nalice,{KEY}-2\nmallory,{KEY}-2\n", "there is no user 'mallory'"),
        (f"name,openai_key\nalice,{KEY}-2\nalice,{KEY}-3\n", "line 3: name: 'alice' is in the file twice"),
        (f"alice,{KEY}-2\n", "line 1 must name the columns name and openai_key"),
        ("name,openai_key\nalice,\n", "line 2: the OpenAI key must be 1 to 512 printable"),
        ("name,openai_key\n", "the file has no users"),
    ],
)
def test_file_of_keys_with_an_error_changes_nothing(cli: Cli, text: str, message: str) -> None:
    """The error is one line without the key."""
    cli.add_user("alice")
    [line] = cli.refused("user", "set-key", "--csv", "-", stdin=text)
    assert line.startswith(f"Error: {message}")
    assert (stored_key(cli), KEY in line) == (KEY, False)


@pytest.mark.parametrize("arguments", [[], ["alice", "--all"], ["--all", "--csv", "-"]])
def test_set_key_needs_one_choice_of_users(shared_cli: Cli, arguments: list[str]) -> None:
    """The exit code is 2."""
    assert shared_cli.refused("user", "set-key", *arguments, code=2)[-1].startswith("Error: give NAME, --all or --csv")


# Names, keys and models that are probably mistakes.


@pytest.mark.parametrize("name", ['"alice"', "'alice'", "“alice”", "NAME=alice", "user=alice", "`alice`", KEY])
def test_add_refuses_a_name_that_is_probably_wrong(shared_cli: Cli, name: str) -> None:
    """A key in place of a name is not repeated."""
    [line] = shared_cli.refused("user", "add", name, "--openai-key-stdin", stdin=KEY)
    assert line.startswith("Error: name: ")
    assert KEY not in line


@pytest.mark.parametrize("name", ["O'Brien", "'t Hooft", "Hans'", "a=b", "模型", "sk-ate"])
def test_add_accepts_a_name_with_an_apostrophe(cli: Cli, name: str) -> None:
    """Only quotation marks around a name are a mistake, and an assignment by its first word."""
    assert is_well_formed(cli.add_user(name))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (f'"{KEY}"', "quotation marks"),
        (f"OPENAI_API_KEY={KEY}", "begins with a name and ="),
        (f"cga_{'0' * 49}", "is a token of this agent"),
        (f"cgm_{'0' * 49}", "is a token of this agent"),
        ("sk-admin-made-up", "is an admin key of OpenAI"),
        ("sk-...made", "is masked"),
        ("sk-proj-****made", "is masked"),
        ("<made-up>", "is masked, or a placeholder"),
    ],
)
def test_key_that_is_probably_wrong_is_refused(cli: Cli, key: str, reason: str) -> None:
    """The error does not repeat the key."""
    cli.add_user("alice")
    for command in (["add", "bob"], ["set-key", "alice"]):
        [line] = cli.refused("user", *command, "--openai-key-stdin", stdin=key)
        assert (reason in line, key in line) == (True, False)
    assert stored_key(cli) == KEY


@pytest.mark.parametrize("other", ["Alice", "alic\u0065\u0301", "ａｌｉｃｅ"])
def test_look_alike_name_is_a_hint(cli: Cli, other: str) -> None:
    """A user whose name differs in case or composition can be added, with a warning."""
    cli.add_user("alicé" if "\u0301" in other else "alice")
    result = cli.run("user", "add", other, "--openai-key-stdin", stdin=KEY)
    assert result.exit_code == 0
    assert "looks like that of another user" in result.stderr


def test_missing_user_is_answered_with_the_probable_name(cli: Cli) -> None:
    """Names that look the same are shown with their code points."""
    cli.add_user("zoë")
    assert cli.refused("user", "show", "Zoë") == ["Error: there is no user 'Zoë'; did you mean 'zoë'?"]
    [line] = cli.refused("user", "show", "zoe\u0308")
    assert line == "Error: there is no user 'zoe\u0308'; did you mean 'zo\\xeb'?"


def test_allowed_model_without_a_price_is_a_warning(cli: Cli) -> None:
    """The user is added; patterns that match a priced model are no mistake."""
    cli.ok("price", "set", "gpt-6-sol", "--input", "1", "--output", "1")
    result = cli.run("user", "add", "alice", "--openai-key-stdin", "--models", "gpt-6*,gpt-6-so1,o9", stdin=KEY)
    assert "no model with a price matches 'gpt-6-so1' of the allowed models; did you mean 'gpt-6-sol'?" in result.stderr
    assert ("'o9'" in result.stderr, "gpt-6*" in result.stderr) == (True, False)
    for command in (["token", "issue", "alice"], ["token", "set", "1"], ["user", "set", "alice"]):
        assert "no model with a price matches 'o9'" in cli.run(*command, "--models", "o9").stderr


def test_remove_without_a_terminal_requires_yes(cli: Cli) -> None:
    """A script must confirm a removal with --yes."""
    cli.add_user("alice")
    assert cli.refused("user", "remove", "alice", code=2)[-1] == "Error: no terminal for the prompt: give --yes"


@pytest.mark.parametrize("args", [("set-key",), ("enable",), ("set", "--rpm", "1"), ("remove", "--yes")])
def test_error_names_the_day_of_a_removal(cli: Cli, args: tuple[str, ...]) -> None:
    """The error distinguishes a removed user from an unknown one."""
    cli.add_user("alice")
    cli.ok("user", "remove", "alice", "--yes")
    [line] = cli.refused("user", args[0], "alice", *args[1:])
    assert line.startswith("Error: user 'alice' was removed on 20")


def test_names_are_case_sensitive(cli: Cli) -> None:
    """`Alice` and `alice` are two users."""
    cli.add_user("alice")
    assert cli.refused("user", "show", "Alice") == ["Error: there is no user 'Alice'; did you mean 'alice'?"]
