"""Rate limits that several agents share: what each takes, tells the others, and learns from them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.errors import RateLimited, StoreUnavailable
from chatgpt_agent.runtime.limit_sync import LimitTimes
from chatgpt_agent.runtime.rate_limiter import Slot
from tests.support.limit_world import Agent, LimitWorld, identity_with

SIXTY = identity_with(rpm=60)
TIMES = LimitTimes()


async def world_of(agents: int) -> LimitWorld:
    """Agents that have started."""
    world = LimitWorld(agents)
    await world.start()
    return world


async def test_the_only_agent_publishes_nothing() -> None:
    """It says once that it has started; then its requests leave nothing to publish."""
    world = LimitWorld(1)
    [one] = world.agents
    await world.start()
    for slot in one.admit(SIXTY, 100, tokens=5):
        slot.settle(3)
        slot.release()
    await world.exchange()
    assert (world.store.rows, one.limiter.meters.changes.owners, one.left(SIXTY)) == ({}, set(), 0)


async def test_requests_at_another_agent_count() -> None:
    """With 45 of 60 taken at one agent, another one admits 15, in the same moment."""
    world = await world_of(2)
    one, other = world.agents
    assert len(one.admit(SIXTY, 45)) == 45
    await world.exchange()
    assert (other.left(SIXTY), dict(other.limiter.headers(SIXTY))["x-ratelimit-remaining-requests"]) == (15, "15")
    assert len(other.admit(SIXTY, 100)) == 15
    await world.exchange()
    assert (one.admit(SIXTY), other.admit(SIXTY)) == ([], [])


async def test_what_was_passed_in_a_burst_has_to_refill() -> None:
    """Two agents that admit 60 each in one moment admit the next one after 61 seconds."""
    world = await world_of(2)
    assert [len(agent.admit(SIXTY, 100)) for agent in world.agents] == [60, 60]
    await world.exchange()
    for agent in world.agents:
        with pytest.raises(RateLimited) as refused:
            agent.limiter.acquire(SIXTY, None)
        assert refused.value.retry_after == pytest.approx(61)
    world.clock.now += 61
    assert [len(agent.admit(SIXTY, 100)) for agent in world.agents] == [1, 1]


async def test_tokens_count_as_estimated_and_then_as_used() -> None:
    """Another agent takes the estimate at first, and gives back what the answer did not use."""
    identity = identity_with(tpm=1000)
    world = await world_of(2)
    one, other = world.agents
    [slot] = one.admit(identity, tokens=900)
    await world.exchange()
    assert other.left(identity, "tokens_left") == 100
    slot.settle(300)
    await world.exchange()
    assert other.left(identity, "tokens_left") == 700


async def test_requests_in_progress_count_everywhere_until_they_end() -> None:
    """With three at once, two of which run at one agent, another one admits one."""
    identity = identity_with(concurrency=3)
    world = await world_of(2)
    one, other = world.agents
    slots = one.admit(identity, 2)
    await world.exchange()
    assert (len(other.admit(identity, 3)), other.left(identity, "requests_in_progress")) == (1, 3)
    for slot in slots:
        slot.release()
    await world.exchange()
    assert (len(other.admit(identity, 3)), other.left(identity, "requests_in_progress")) == (2, 3)


async def test_requests_in_progress_of_an_agent_that_has_died_are_forgotten() -> None:
    """As soon as it no longer counts as alive; what it has used stays used."""
    identity = identity_with(rpm=10, concurrency=2)
    world = await world_of(2)
    one, other = world.agents
    one.admit(identity, 2)
    await world.exchange()
    assert other.admit(identity) == []
    world.store.alive.remove(one.id)
    await world.read()
    assert (len(other.admit(identity, 3)), other.left(identity)) == (2, 6)


async def test_a_restart_gives_no_new_minute() -> None:
    """An agent that was killed finds what itself and others have used, less what has refilled; its former requests no
    longer run."""
    identity = identity_with(rpm=60, tpm=6000, concurrency=50)
    world = await world_of(2)
    one, other = world.agents
    one.admit(identity, 40, tokens=100)
    await world.exchange()
    other.admit(identity, 10, tokens=100)
    await world.exchange()
    world.clock.now += 5
    one = await world.restart(one)
    for agent in (one, other):
        assert (agent.left(identity), agent.left(identity, "tokens_left")) == (15, 1500)
        assert agent.left(identity, "requests_in_progress") == 10


async def test_a_restart_of_the_agent_that_had_all_requests_gives_no_new_minute() -> None:
    """Its own figures of the last run are in PostgreSQL."""
    world = await world_of(2)
    one, _ = world.agents
    one.admit(SIXTY, 60)
    await world.exchange()
    assert (await world.restart(one)).left(SIXTY) == 0


async def test_the_notice_of_a_start_ends_what_ran_before() -> None:
    """Other agents do not have to read first that an agent was killed and started again."""
    identity = identity_with(concurrency=2)
    world = await world_of(2)
    one, other = world.agents
    one.admit(identity, 2)
    await world.exchange()
    await Agent(one.id.int, world).sync.load(one.id)
    other.sync.receive(world.store.notices)
    assert len(other.admit(identity, 3)) == 2


async def test_an_agent_that_starts_knows_what_two_others_took_at_once() -> None:
    """Their publications crossed, so that neither had what both have taken; they publish again."""
    world = await world_of(3)
    one, other, third = world.agents
    assert [len(agent.admit(SIXTY, 20)) for agent in (one, other)] == [20, 20]
    await world.exchange()
    assert third.left(SIXTY) == 20
    await world.exchange()
    assert (await world.restart(third)).left(SIXTY) == 20


async def test_a_second_agent_learns_what_the_first_has_used() -> None:
    """The first one publishes what its buckets lack, however much it has admitted since its own start."""
    world = LimitWorld(2)
    one, other = world.agents
    await world.start([one])
    for _ in range(10):
        one.admit(SIXTY, 60)
        world.clock.now += 50
    one.admit(SIXTY, 45)
    await world.start([other])
    await world.exchange()
    assert (one.left(SIXTY), other.left(SIXTY)) == (5, 5)
    other.admit(SIXTY, 2)
    await world.exchange()
    assert (one.left(SIXTY), other.left(SIXTY)) == (3, 3)


async def test_a_lost_notice_is_made_up_for_by_the_next_reading() -> None:
    """Figures are sums: the next notice has them, too, and counts them once."""
    world = await world_of(2)
    one, other = world.agents
    other.left(SIXTY)
    one.admit(SIXTY, 20)
    await world.exchange(lost=True)
    assert other.left(SIXTY) == 60
    await world.read()
    assert other.left(SIXTY) == 40
    one.admit(SIXTY, 5)
    await world.exchange()
    assert other.left(SIXTY) == 35


async def test_a_reading_that_is_older_than_a_notice_changes_nothing() -> None:
    """The notice may be handled while the answer to the reading is on its way."""
    world = await world_of(2)
    one, other = world.agents
    other.left(SIXTY)
    one.admit(SIXTY, 20)
    await one.sync.publish()
    [old] = await world.store.read_uses(None)
    one.admit(SIXTY, 20)
    await world.exchange()
    other.limiter.meters.receive(old.agent, old.run, old.number, [old.use])
    assert other.left(SIXTY) == 20


async def test_agents_go_on_by_what_they_know_while_postgresql_is_away() -> None:
    """Each admits up to the limit by its own memory; then what has not refilled counts, once."""
    world = await world_of(2)
    one, other = world.agents
    world.store.away = True
    assert [len(agent.admit(SIXTY, 100)) for agent in world.agents] == [60, 60]
    with pytest.raises(StoreUnavailable):
        await one.sync.publish()
    world.clock.now += 30
    world.store.away = False
    await world.exchange()
    await world.read()
    for agent in (one, other):
        with pytest.raises(RateLimited) as refused:
            agent.limiter.acquire(SIXTY, None)
        assert refused.value.retry_after == pytest.approx(31)


async def test_what_was_used_long_before_postgresql_returned_does_not_count() -> None:
    """After an outage of ten minutes in which both used all of the limit, no user waits for ten minutes."""
    world = await world_of(2)
    one, other = world.agents
    world.store.away = True
    for _ in range(600):
        one.admit(SIXTY)
        other.admit(SIXTY)
        world.clock.now += 1
    one.admit(SIXTY, 20)
    world.store.away = False
    await world.exchange()
    await world.read()
    await world.exchange()
    assert (one.left(SIXTY), other.left(SIXTY)) == (40, 40)


async def test_the_last_agent_stops_publishing_after_a_while() -> None:
    """An agent that is restarted meanwhile finds what is used; later there is nothing that has not refilled."""
    world = await world_of(2)
    one, other = world.agents
    one.admit(SIXTY, 60)
    await world.exchange()
    world.store.alive.remove(other.id)
    await world.read()
    one.admit(SIXTY)
    await world.exchange()
    assert {agent for agent, _ in world.store.rows} == {one.id}
    world.clock.now += TIMES.leave + 1
    await world.read()
    one.admit(SIXTY)
    await world.exchange()
    assert (world.store.rows, one.left(SIXTY)) == ({}, 59)
    other = await world.restart(other)
    await world.exchange()
    assert other.left(SIXTY) == 59


async def test_an_agent_that_returns_soon_counts_nothing_twice() -> None:
    """While it was away, the other one went on in the same run."""
    world = await world_of(2)
    one, other = world.agents
    one.admit(SIXTY, 30)
    await world.exchange()
    world.store.alive.remove(other.id)
    await world.read()
    one.admit(SIXTY, 10)
    await world.exchange()
    other = await world.restart(other)
    await world.exchange()
    assert (one.left(SIXTY), other.left(SIXTY)) == (20, 20)


async def test_a_table_that_was_lost_is_filled_again() -> None:
    """After a crash of PostgreSQL the table is empty: agents publish all that is used."""
    world = await world_of(2)
    one, other = world.agents
    one.admit(SIXTY, 30)
    await world.exchange()
    world.store.rows.clear()
    await world.read()
    await world.exchange()
    other = await world.restart(other)
    assert (one.left(SIXTY), other.left(SIXTY)) == (30, 30)


async def test_what_was_published_last_without_the_others_use_is_published_again() -> None:
    """An agent that starts goes by the last publication. This one came after a crash of PostgreSQL, before a notice."""
    world = await world_of(2)
    one, other = world.agents
    one.admit(SIXTY, 10)
    await world.exchange()
    world.store.rows.clear()
    await world.read()
    one.admit(SIXTY, 20)
    for agent in (one, other):
        world.clock.now += 0.01
        await agent.sync.publish()
    world.store.notices.clear()
    await world.read()
    await world.exchange()
    world.agents.append(third := Agent(3, world))
    await world.start([third])
    assert third.left(SIXTY) == 30
    for _ in range(2):
        await world.exchange()
        await world.read()
    assert [agent.limiter.meters.changes.owners for agent in world.agents] == [set()] * 3  # this ends


async def test_figures_from_long_ago_do_not_count() -> None:
    """An agent that starts while the table is empty hears of sums: at most what lacks and a minute's worth counts."""
    world = await world_of(2)
    one, other = world.agents
    for _ in range(10):
        one.admit(SIXTY, 60)
        await world.exchange()
        world.clock.now += 60
        await world.read()
    world.store.rows.clear()
    other = await world.restart(other)
    other.left(SIXTY)
    one.admit(SIXTY, 5)
    await world.exchange()
    assert one.left(SIXTY) == 55
    with pytest.raises(RateLimited) as refused:
        other.limiter.acquire(SIXTY, None)
    assert refused.value.retry_after == pytest.approx(6)


async def test_nothing_is_due_without_changes() -> None:
    """Where PostgreSQL has no figures of an agent, it publishes what is used, if anything is."""
    world = await world_of(2)
    meters = world.agents[0].limiter.meters
    meters.republish()
    assert not meters.changes.due.is_set()


async def test_a_limit_that_is_set_later_counts_from_then_on() -> None:
    """An agent that gets a limit of tokens beside one of requests keeps what was used of the other."""
    world = await world_of(2)
    one, other = world.agents
    one.admit(SIXTY, 10, tokens=50)
    await world.exchange()
    both = identity_with(rpm=60, tpm=1000)
    one.admit(both, 1, tokens=100)
    await world.exchange()
    assert (other.left(both), other.left(both, "tokens_left")) == (49, 900)


# Properties. Steps: seconds before it, the agent, and how many requests it wants to send.
STEPS = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 2), st.integers(0, 30)), max_size=40)


@given(agents=st.integers(1, 3), limit=st.integers(1, 100), every=st.integers(1, 8), steps=STEPS)
def test_the_limit_holds_over_time(agents: int, limit: int, every: int, steps: list[tuple[float, int, int]]) -> None:
    """In any order of requests and exchanges: at most a full bucket of each agent, what has refilled since, and of each
    other agent what refills between two exchanges."""

    async def run() -> None:
        world = await world_of(agents)
        began = exchanged = world.clock.now
        identity, admitted, longest = identity_with(rpm=limit), 0, 0.0
        for number, (pause, agent, count) in enumerate(steps):
            world.clock.now += pause
            admitted += len(world.agents[agent % agents].admit(identity, count))
            longest = max(longest, world.clock.now - exchanged)
            if number % every == 0:
                await world.exchange()
                exchanged = world.clock.now
            refilled = limit / 60 * (world.clock.now - began + (agents - 1) * longest)
            assert admitted <= agents * limit + refilled + 1e-6

    asyncio.run(run())


@given(limit=st.integers(1, 100), steps=STEPS)
def test_a_request_within_the_limit_is_admitted(limit: int, steps: list[tuple[float, int, int]]) -> None:
    """With an exchange after each step, every agent admits as much as a single one would."""

    async def run() -> None:
        several, single = await world_of(3), await world_of(1)
        identity = identity_with(rpm=limit)
        for pause, agent, count in steps:
            several.clock.now += pause
            single.clock.now += pause
            admitted = several.agents[agent].admit(identity, count)
            assert len(admitted) == len(single.agents[0].admit(identity, count))
            await several.exchange()

    asyncio.run(run())


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["begin", "end", "exchange", "lose", "read", "restart"]), st.integers(0, 2)),
    max_size=40,
)


@given(limit=st.integers(1, 100), actions=ACTIONS)
def test_agents_agree_after_an_exchange(limit: int, actions: list[tuple[str, int]]) -> None:
    """Whatever was lost, read or restarted before: all know what runs, and what is left, but for what refills while a
    notice is on its way."""

    async def run() -> None:
        world = await world_of(3)
        identity = identity_with(rpm=limit, tpm=60 * limit, concurrency=1000)
        slots: list[list[Slot]] = [[], [], []]
        exchanged, longest, lost = world.clock.now, 0.0, False
        for action, number in actions:
            world.clock.now += 0.5
            longest = max(longest, world.clock.now - exchanged)
            if action == "begin":
                slots[number] += world.agents[number].admit(identity, 2, tokens=50)
            elif action == "end" and slots[number]:
                slots[number].pop().release()
            elif action == "read":
                await world.agents[number].sync.read()
            elif action in ("exchange", "lose"):
                await world.exchange(lost=action == "lose")
                lost = lost or action == "lose"
                exchanged = exchanged if lost else world.clock.now
            elif action == "restart":
                await settle_down(world)
                exchanged, lost = world.clock.now, False
                slots[number] = []
                await world.restart(world.agents[number])
        await settle_down(world)
        assert {agent.left(identity, "requests_in_progress") for agent in world.agents} == {sum(map(len, slots))}
        for unit, refill in (("requests_left", limit / 60), ("tokens_left", limit)):
            left = [agent.left(identity, unit) for agent in world.agents]
            assert max(left) - min(left) <= 1 + refill * longest

    asyncio.run(run())


async def settle_down(world: LimitWorld) -> None:
    """Lets every agent know what the others have used, and publish what its buckets lack because of that."""
    await world.exchange()
    await world.read()
    await world.exchange()
