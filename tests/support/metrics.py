"""Reads `/metrics` as Prometheus does."""

from prometheus_client.parser import text_string_to_metric_families

from chatgpt_agent.core.metrics import PREFIX
from tests.support.agent import Agent
from tests.support.client import Answer, fetch

Series = tuple[str, frozenset[tuple[str, str]]]  # name and labels


async def scrape(agent: Agent, host: str = "localhost", **headers: str) -> Answer:
    """Returns the answer to a scrape."""
    return await fetch(f"{agent.admin_url}/metrics", headers={"Host": host, **headers})


def parse(answer: Answer) -> dict[Series, float]:
    """Returns the value of each series."""
    assert answer.status == 200
    families = text_string_to_metric_families(answer.body.decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value for each in families for sample in each.samples
    }


async def read(agent: Agent) -> dict[Series, float]:
    """Scrapes an agent."""
    return parse(await scrape(agent))


def series(name: str, **labels: str) -> Series:
    """Returns one of our series, whose name is without the prefix."""
    return PREFIX + name, frozenset(labels.items())
