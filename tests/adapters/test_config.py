"""The configuration: sources of values, and errors about values that are not allowed."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest
import yaml

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_checks import is_loopback
from chatgpt_agent.adapters.config_loading import config_from, load_config
from chatgpt_agent.adapters.config_values import Proxy
from chatgpt_agent.core.errors import ConfigError

ROOT = Path(__file__).parents[2]
KEYS = Config.__struct_fields__

Load = Callable[..., Config]
Errors = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a text as a configuration file."""

    def load(text: str, environ: Mapping[str, str] | None = None) -> Config:
        file = tmp_path / "config.yml"
        file.write_text(text, "utf-8")
        return load_config(file, environ or {})

    return load


@pytest.fixture
def errors(load: Load) -> Errors:
    """The errors that are reported for a text."""

    def errors(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, environ)
        return caught.value.errors

    return errors


# Sources.


def test_without_a_file_the_defaults_apply() -> None:
    """Neither a file nor the environment is needed."""
    assert load_config(None, {}).port == 8080


def test_an_empty_file_gives_the_defaults(load: Load) -> None:
    """A file may consist of comments."""
    assert load("# nothing yet\n").bind_address == "0.0.0.0"


def test_the_file_overrides_the_default(load: Load) -> None:
    """A value in the file replaces the default."""
    assert load("port: 9000").port == 9000


def test_the_environment_overrides_the_file(load: Load) -> None:
    """The variable with the key's name in upper case replaces the value in the file."""
    assert load("port: 9000", {"PORT": "9001"}).port == 9001


def test_an_empty_variable_is_ignored(load: Load) -> None:
    """`OPENAI_PROXY=` in a unit file does not remove the value in the file."""
    assert load("openai_proxy: http://proxy:3128", {"OPENAI_PROXY": ""}).openai_proxy == "http://proxy:3128"


def test_an_empty_key_is_ignored(load: Load) -> None:
    """`key:` without a value leaves the default."""
    assert load("port:\nopenai_proxy:\ndata_dir:\n") == load("")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BIND_ADDRESS", "127.0.0.1"),
        ("DATABASE_URL", "postgresql://db/agent"),
        ("DATABASE_USERNAME", "agent"),
        ("DATABASE_PASSWORD", "secret"),
        ("DATABASE_ADDRESS", "db:5433"),
        ("DATABASE_NAME", "agent"),
        ("OPENAI_URL", "https://other.example/v1/chat/completions"),
        ("OPENAI_PROXY", "http://localhost:7890"),
    ],
)
def test_the_original_programs_variables_are_read(variable: str, value: str) -> None:
    """The environment of the original program configures this one."""
    assert getattr(load_config(None, {variable: value}), variable.lower()) == value


def test_paths_in_the_file_are_relative_to_the_file(load: Load, tmp_path: Path) -> None:
    """The data is in one place, wherever the agent is started."""
    assert load("data_dir: here").data_dir == tmp_path / "here"


def test_paths_in_the_environment_are_relative_to_the_current_folder(load: Load) -> None:
    """Variables are resolved like paths in a shell."""
    assert load("", {"DATA_DIR": "here"}).data_dir == Path.cwd() / "here"


def test_an_absolute_path_in_the_file_stays(load: Load) -> None:
    """An absolute path is unchanged."""
    assert load("master_key_file: /run/key").master_key_file == Path("/run/key")


def test_the_file_is_named_by_an_option_or_a_variable(tmp_path: Path) -> None:
    """`--config` takes precedence over CHATGPT_AGENT_CONFIG."""
    for port in (1, 2):
        (tmp_path / f"{port}.yml").write_text(f"port: {port}")
    environ = {"CHATGPT_AGENT_CONFIG": str(tmp_path / "2.yml")}
    assert config_from(None, environ).port == 2
    assert config_from(str(tmp_path / "1.yml"), environ).port == 1


@pytest.mark.parametrize("text", ["openai_http_version: 1.1", 'openai_http_version: "1.1"'])
def test_the_http_version_may_be_a_number(load: Load, text: str) -> None:
    """YAML reads 1.1 without quotes as a number."""
    assert load(text).openai_http_version == "1.1"


def test_the_http_version_2_may_be_a_number(load: Load) -> None:
    """YAML reads 2 without quotes as a number."""
    assert load("openai_http_version: 2").openai_http_version == "2"


def test_a_password_may_look_like_a_date(load: Load) -> None:
    """YAML's dates are read as text."""
    assert load("database_password: 2024-13-45").database_password == "2024-13-45"


# Errors.


def test_all_errors_are_reported_at_once(errors: Errors) -> None:
    """Each error of the file and the environment is one line."""
    lines = errors("port: 70000\nlog_level: loud\nnonsense: 1", {"STALE_AFTER": "soon"})
    assert len(lines) == 4
    assert all("\n" not in line for line in lines)


def test_an_error_has_place_key_value_and_what_is_allowed(errors: Errors, tmp_path: Path) -> None:
    """An error names the file, the key, the value and what is allowed."""
    [line] = errors("port: 70000")
    allowed = "a port, 0 to 65535 (0: any that is free)"
    assert line == f"{tmp_path / 'config.yml'}: port: found 70000; allowed: {allowed}"


def test_an_error_in_the_environment_names_the_variable(errors: Errors) -> None:
    """An error of a variable names the variable instead of the file."""
    [line] = errors("port: 1", {"PORT": "many"})
    assert line.startswith("environment PORT: port: found 'many'; allowed: a port")


@pytest.mark.parametrize(
    "text",
    [
        "port: -1",
        "port: 1.5",
        "port: true",
        "port: [1]",
        "bind_address: ''",
        "auto_migrate: maybe",
        "auto_migrate: 1",
        "connect_timeout: 0",
        "connect_timeout: .nan",
        "connect_timeout: .inf",
        "max_body_size: 1",
        "max_buffered_size: 1000",
        "max_buffered_size: 134217727",
        "public_url: ai.example.com",
        "public_url: https://ai.example.com/?key=1",
        "cors_origins: chat.example.com",
        "cors_origins: https://chat.example.com/",
        "cors_origins: ['*', 'https://*.example.com']",
        "max_concurrent_requests: 0",
        "openai_http_version: 3",
        "openai_http_version: true",
        "log_level: INFO",
        "database_name: 5",
        "database_address: host:port",
        "database_address: host:0",
        "database_address: host:65536",
        "database_address: '[::1'",
        "database_url: ''",
        "data_dir: ''",
        "master_key_file: 5",
    ],
)
def test_a_value_that_is_not_allowed_is_an_error(errors: Errors, text: str) -> None:
    """A wrong value is one error, which names the key."""
    [line] = errors(text)
    assert f": {text.split(':')[0]}: found " in line


SECRET_PLACES = {
    "BIND_ADDRESS": ["user:hunter2@host", "http://user:hunter2@host"],
    "ADMIN_BIND_ADDRESS": ["user:hunter2@host"],
    "PORT": ["user:hunter2@host", "http://host/?token=hunter2"],
    "OPENAI_URL": [
        "https://host/v1?key=hunter2",
        "https://user:hunter2@host/v1",
        "https://host/v1#hunter2",
        "http://gateway.example/v1?api_key=hunter2",
        "ftp://user:hunter2@host/v1",
    ],
    "OPENAI_PROXY": ["socks5://user:hunter2@host:1", "user:hunter2@host", "hunter2"],
    "OPENAI_CA_FILE": ["https://user:hunter2@host/ca.pem"],
    "DATABASE_URL": [
        "mysql://user:hunter2@host/db",
        "postgresql://user:pass@hunter2@host/db",
        "postgresql://user:hunter2/x@host/db",
        "postgresql://user:hunter2?x@host/db",
        "postgresql://host:hunter2/db",
        "hunter2",
    ],
    "DATABASE_ADDRESS": ["user:hunter2@host:5432", "hunter2@host:5432", "password=hunter2", "host:hunter2"],
    "DATABASE_NAME": ["postgresql://user:hunter2@host/db", "x password=hunter2"],
    "DATABASE_USERNAME": ["postgresql://user:hunter2@host/db"],
    "DATA_DIR": ["postgresql://user:hunter2@host/db", "sk-hunter2"],
    "MASTER_KEY_FILE": ["whsec_hunter2", "hunter2" + "A" * 36 + "="],
    "WEBHOOK_URL": ["user:hunter2@host", "ftp://host/hunter2"],
    "WEBHOOK_SECRET_FILE": ["whsec_hunter2"],
    "TRUSTED_PROXIES": ["user:hunter2@host"],
    "CORS_ORIGINS": ["https://user:hunter2@host"],
    "TIME_ZONE": ["postgresql://user:hunter2@host/db"],
    "LOG_LEVEL": ["token=hunter2"],
    "MAX_BODY_SIZE": ["sk-hunter2"],
}


@pytest.mark.parametrize(
    ("variable", "value"), [(variable, value) for variable, values in SECRET_PLACES.items() for value in values]
)
def test_secret_in_the_wrong_place_is_refused_and_not_shown(variable: str, value: str) -> None:
    """A password or key is not shown, whatever key it was given to, and does not get to where it would be shown."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, {variable: value})
    assert f": {variable.lower()}: found " in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("/srv/cga_hunter2/data", 'not shown: "cga_" in it may begin a token'),
        ("/srv/cgm_hunter2", 'not shown: "cgm_" in it may begin an admin\'s token'),
        ("/srv/team-sk-hunter2", 'not shown: "sk-" in it may begin an OpenAI key'),
        ("/srv/whsec_hunter2", 'not shown: "whsec_" in it may begin a webhook\'s secret'),
        ("/srv/" + "A" * 36 + "hunter2=", "not shown: 43 characters and = in it may be a master key"),
    ],
)
def test_folder_that_looks_like_a_secret_is_explained(folder: str, reason: str) -> None:
    """The error says which part of the path looks like a secret, and what to do if it holds none."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, {"DATA_DIR": folder})
    [line] = caught.value.errors
    assert f"data_dir: found ({reason}); allowed: a folder; rename the path if it holds no secret" in line
    assert "hunter2" not in line


def test_folder_with_such_letters_inside_of_a_word_is_accepted() -> None:
    """`disk-1` is not an OpenAI key."""
    assert load_config(None, {"DATA_DIR": "/srv/disk-1"}).data_dir == Path("/srv/disk-1")


@pytest.mark.parametrize("text", ["postgresql://user:hunter2@host/db: 1", "sk-hunter2: 1", '"token=hunter2": 1'])
def test_secret_in_the_place_of_a_key_is_not_shown(errors: Errors, text: str) -> None:
    """An unknown key that may be a secret is not shown."""
    [line] = errors(text)
    assert "unknown key" in line
    assert "hunter2" not in line


@pytest.mark.parametrize("name", ["postgresql://user:hunter2@host/db", "sk-hunter2"])
def test_secret_in_the_place_of_a_file_is_not_shown(name: str) -> None:
    """A file's name that may be a secret is not shown."""
    with pytest.raises(ConfigError) as caught:
        config_from(name, {})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql:///db?host=/run/postgresql",
        "postgresql://user:p%40ss@host/db",
        "postgresql://user%40tenant:p%40ss@host/db",
        "postgresql://a:1,b:2/db?target_session_attrs=read-write",
        "postgresql://[::1]:5432/db",
        "postgres://%2Frun%2Fpostgresql/db",
        "postgresql://host?user=a@b",
        "host=h password='a@b'",
    ],
)
def test_database_urls_of_libpq_are_accepted(url: str) -> None:
    """A URL or connection string that libpq reads as it was meant is accepted."""
    assert load_config(None, {"DATABASE_URL": url}).database_url == url


def test_origins_are_split_at_commas(load: Load) -> None:
    """Origins are a list or a text with commas."""
    origins = load("", {"CORS_ORIGINS": "https://a.example, http://localhost:3000,chrome-extension://abc"}).cors_origins
    assert origins == ("https://a.example", "http://localhost:3000", "chrome-extension://abc")
    assert load("cors_origins: '*'").cors_origins == ("*",)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/v1",
        "https://",
        "https://host",
        "https://host/",
        "https://host:port/v1",
        "https://host:0/v1",
        "https://host/v1?key=1",
        "https://host/v1#here",
        "https://user:password@host/v1",
        "https://host/v 1",
        "https://hóst/v1",
        "host/v1",
    ],
)
def test_an_openai_url_that_is_not_an_endpoint_is_an_error(errors: Errors, url: str) -> None:
    """The URL must have a host and a path, and nothing that cannot be sent."""
    [line] = errors(f"openai_url: '{url}'")
    assert ": openai_url: found " in line


@pytest.mark.parametrize(
    "proxy",
    [
        "proxy:3128",
        "http://proxy",
        "socks5://proxy:1080",
        "http://proxy:1/x",
        "http://p:1?x",
        "http://próxy:1",
        "http://a%3Ab:word@proxy:1",
        "http://user:wo%0Ard@proxy:1",
        "http://us%00er:word@proxy:1",
    ],
)
def test_a_proxy_url_without_http_or_port_is_an_error(errors: Errors, proxy: str) -> None:
    """Scheme and port of the proxy have no defaults."""
    [line] = errors(f"openai_proxy: {proxy}")
    assert line.endswith(": openai_proxy: found (not shown); allowed: http://[user:password@]host:port, or nothing")


def test_an_unknown_key_is_an_error_with_a_suggestion(errors: Errors) -> None:
    """A typing error does not silently leave the default."""
    [line] = errors("max_body_sise: 5000")
    assert line.endswith("max_body_sise: unknown key; did you mean max_body_size?")


def test_an_unknown_key_without_a_similar_one_refers_to_the_example(errors: Errors) -> None:
    """Without a similar key the error refers to config.example.yml."""
    [line] = errors("zzz: 1")
    assert line.endswith("zzz: unknown key; config.example.yml has all keys")


def test_a_duplicate_key_is_an_error(errors: Errors, tmp_path: Path) -> None:
    """YAML itself would silently use the second value."""
    assert errors("port: 1\nadmin_port: 2\nport: 3") == [f"{tmp_path / 'config.yml'}: line 3: duplicate key 'port'"]


@pytest.mark.parametrize(("text", "kind"), [("- port", "list"), ("port", "str"), ("8080", "int")])
def test_a_file_that_is_not_a_mapping_is_an_error(errors: Errors, text: str, kind: str) -> None:
    """The error names the type of the content."""
    [line] = errors(text)
    assert line.endswith(f"found {kind}; allowed: lines of `key: value`")


@pytest.mark.parametrize(
    "text", ["port: [", "port: 'a", "a: b: c", "port: !!int text", "port: !!bool text", "x: " + "[" * 5000]
)
def test_a_file_that_is_not_yaml_is_an_error(errors: Errors, text: str) -> None:
    """The error is one line, not a traceback."""
    [line] = errors(text)
    assert "config.yml:" in line


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A file that was named must exist."""
    with pytest.raises(ConfigError, match=r"none\.yml: cannot be read: No such file"):
        load_config(tmp_path / "none.yml", {})


def test_a_file_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    """Other encodings are not guessed."""
    (tmp_path / "config.yml").write_bytes(b"database_name: caf\xe9")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(tmp_path / "config.yml", {})


# Secrets.


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("database_password: [hunter2]", {}),
        ("database_password: *hunter2", {}),
        ("database_password: !hunter2 x", {}),
        ("database_password: !x!hunter2", {}),
        ("database_password: &hunter2 a\ndatabase_name: &hunter2 b", {}),
        ("database_url: [hunter2]", {}),
        ("openai_proxy: http://user:hunter2@proxy", {}),
        ("openai_url: https://user:hunter2@host/v1", {}),
        ("database_address: user:hunter2@host", {}),
        ("", {"OPENAI_PROXY": "user:hunter2@proxy"}),
    ],
)
def test_an_error_shows_no_secret(errors: Errors, text: str, environ: dict[str, str]) -> None:
    """Values of secret keys and URLs with credentials are not shown."""
    assert "hunter2" not in "\n".join(errors(text, environ))


# https.


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9:8080", "localhost:1", "[::1]:8080"])
def test_http_is_allowed_on_this_machine(load: Load, host: str) -> None:
    """Connections to a loopback address need no encryption."""
    assert load(f"openai_url: http://{host}/v1").openai_url == f"http://{host}/v1"


@pytest.mark.parametrize("host", ["api.openai.com", "10.0.0.1", "0.0.0.0", "localhost.example"])
def test_http_to_another_machine_is_an_error(errors: Errors, host: str) -> None:
    """Keys and messages would be sent unencrypted."""
    [line] = errors(f"openai_url: http://{host}/v1")
    assert "openai_allow_http: true" in line


def test_http_to_another_machine_is_allowed_by_a_key(load: Load) -> None:
    """`openai_allow_http` serves gateways without certificate in a private network."""
    text = "openai_url: http://10.0.0.1/v1\nopenai_allow_http: true"
    assert load(text).openai_url == "http://10.0.0.1/v1"


def test_http_is_checked_over_file_and_environment(errors: Errors) -> None:
    """A URL in the environment needs the permission in the file."""
    [line] = errors("openai_allow_http: false", {"OPENAI_URL": "http://10.0.0.1/v1"})
    assert line.startswith("environment OPENAI_URL: openai_url: found 'http://10.0.0.1/v1'")


def test_a_name_that_looks_like_a_loopback_address_is_not_one() -> None:
    """The only name of this machine is `localhost`."""
    assert not is_loopback("127.0.0.1.example")


# Documentation.


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_in_the_example_with_its_default(key: str, load: Load, tmp_path: Path) -> None:
    """The example is the reference of all keys."""
    example = load((ROOT / "config.example.yml").read_text("utf-8"))
    expected = {"database_url": "embedded", "data_dir": tmp_path / "data"}.get(key, getattr(Config(), key))
    assert re.search(rf"^{key}:", (ROOT / "config.example.yml").read_text("utf-8"), re.MULTILINE)
    assert getattr(example, key) == expected


def test_the_example_has_no_unknown_key() -> None:
    """A removed key is removed from the example, too."""
    assert set(yaml.safe_load((ROOT / "config.example.yml").read_text("utf-8"))) == set(KEYS)


@pytest.mark.parametrize("field", msgspec.structs.fields(Config), ids=lambda field: field.name)
def test_every_key_describes_what_is_allowed(field: msgspec.structs.FieldInfo) -> None:
    """Errors and docs quote this description."""
    assert any(isinstance(part, msgspec.Meta) and part.description for part in field.type.__metadata__)


@pytest.mark.parametrize("text", ["embeded", "mysql", "db.example:5432"])
def test_an_invalid_database_url_is_an_error(text: str) -> None:
    """The error names the key and does not show the value, which may contain a password."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, {"DATABASE_URL": text, "PORT": "x"})
    assert [error.split(": ")[1] for error in caught.value.errors] == ["port", "database_url"]
    assert text not in str(caught.value).replace("allowed: embedded", "")


def test_the_repr_shows_no_secret() -> None:
    """A repr can end up in a log."""
    config = Config(database_password="made-up-password", openai_proxy="http://u:made-up@127.0.0.1:1")
    assert "made-up" not in repr(config)


# Parts for other modules.


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy:3128", Proxy("proxy", 3128, None, None)),
        ("http://[::1]:3128/", Proxy("::1", 3128, None, None)),
        ("http://user:p%40ss@proxy:1", Proxy("proxy", 1, "user", "p@ss")),
        ("http://user@proxy:1", Proxy("proxy", 1, "user", "")),
        ("http://j%C3%BCrgen:%C3%9F@proxy:1", Proxy("proxy", 1, "jürgen", "ß")),
        ("http://jürgen:ß@proxy:1", Proxy("proxy", 1, "jürgen", "ß")),
        ("http://u:%FF@proxy:1", Proxy("proxy", 1, "u", "\udcff")),
        ("http://u:/a[b]#@?:c@proxy:1", Proxy("proxy", 1, "u", "/a[b]#@?:c")),
    ],
)
def test_a_proxy_url_is_parsed_into_its_parts(load: Load, url: str, proxy: Proxy) -> None:
    """Host, port and percent-decoded credentials of the proxy are separate values."""
    assert load(f"openai_proxy: '{url}'").upstream.proxy == proxy


def test_the_upstream_settings_have_the_values_of_their_keys(load: Load) -> None:
    """The HTTP client receives the limits that the file sets."""
    upstream = load("connect_timeout: 1\nmax_response_size: 5000\nmax_concurrent_requests: 7").upstream
    assert (upstream.connect_timeout, upstream.max_response_size, upstream.max_connections) == (1, 5000, 7)


def test_the_repr_of_upstream_settings_omits_the_credentials_of_the_proxy() -> None:
    """A repr can end up in a log."""
    assert "made-up" not in repr(Config(openai_proxy="http://user:made-up@127.0.0.1:1").upstream)


# The console.


def test_the_console_has_the_hosts_of_this_machine_and_those_that_are_named(load: Load) -> None:
    """Addresses that it listens on are hosts, except those that stand for all addresses."""
    config = load("admin_bind_address: 192.0.2.7, 0.0.0.0, [::]\nadmin_hosts: console.example.com, [2001:db8::1]")
    own = ("localhost", "127.0.0.1", "[::1]", "192.0.2.7")
    assert config.console_hosts == (*own, "console.example.com", "[2001:db8::1]")


@pytest.mark.parametrize("hosts", ["console.example.com:443", "https://console.example.com", "a/b", "::1", "[x]", "*"])
def test_a_host_of_the_console_has_no_port(errors: Errors, hosts: str) -> None:
    """It is compared with the Host header, whose port does not count."""
    [line] = errors(f"admin_hosts: ['{hosts}']")
    assert "admin_hosts: found" in line
    assert "host names or [IPv6 addresses] without a port" in line


@pytest.mark.parametrize(
    ("text", "key", "advice"),
    [
        ("admin_user_header: Remote-User", "admin_user_header", "also set admin_user_header_from"),
        ("admin_user_header_from: 10.0.0.1", "admin_user_header_from", "also set admin_user_header,"),
        ("admin_user_header: Remote-User\nadmin_user_header_from: 0.0.0.0/0", "admin_user_header_from", "every client"),
        ("admin_user_header: Remote-User\nadmin_user_header_from: ['::/0']", "admin_user_header_from", "every client"),
        ("admin_user_header: Remote_User\nadmin_user_header_from: 10.0.0.1", "admin_user_header", "allowed: the name"),
        ("admin_user_header: 'A: b'\nadmin_user_header_from: 10.0.0.1", "admin_user_header", "allowed: the name"),
    ],
)
def test_a_header_that_signs_in_needs_the_proxies_that_set_it(errors: Errors, text: str, key: str, advice: str) -> None:
    """One key without the other, or a header that any client may set, is an error."""
    [line] = errors(text)
    assert f": {key}: " in line
    assert advice in line


def test_a_header_that_signs_in_is_read_with_its_proxies(load: Load) -> None:
    """By default no header signs in."""
    config = load("admin_user_header: Remote-User\nadmin_user_header_from: 10.0.0.1, 192.0.2.0/24")
    assert (config.admin_user_header, config.admin_user_header_from) == ("Remote-User", ("10.0.0.1", "192.0.2.0/24"))
    assert (load("").admin_user_header, load("").admin_user_header_from) == (None, ())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "otel_pass_traceparent: true",
            "otel_pass_traceparent: also set otel_endpoint: what is passed on names a span",
        ),
        ("otel_endpoint: 127.0.0.1:4318", "otel_endpoint: found '127.0.0.1:4318'; allowed: an http:// or https:// URL"),
        ("otel_endpoint: http://a:b@h:4318", "otel_endpoint: found"),
    ],
)
def test_receiver_of_spans_is_a_url(errors: Errors, text: str, line: str) -> None:
    """Without it there is no span that OpenAI could learn of."""
    [error] = errors(text)
    assert line in error
    assert "a:b" not in error
