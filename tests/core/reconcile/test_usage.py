"""Tests of the comparison with OpenAI's usage of each endpoint and tool."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.openai_usage import Counts, Figures, Kind, UsageFigure, main_counts
from chatgpt_agent.core.reconcile.compare import compare
from chatgpt_agent.core.reconcile.lines import Finding, LedgerSum, Reconciliation

DAY = date(2026, 11, 1)
SOL = "gpt-6-sol"
PATHS = {
    Kind.COMPLETIONS: "/v1/responses",
    Kind.DECISIONS: "/v1/decisions",
    Kind.EMBEDDINGS: "/v1/embeddings",
    Kind.IMAGES: "/v1/images/edits",
    Kind.TRANSCRIPTIONS: "/v1/audio/transcriptions",
    Kind.MODERATIONS: "/v1/moderations",
}
TOOLS = (Kind.WEB_SEARCH, Kind.FILE_SEARCH, Kind.CODE_INTERPRETER)


def ours(
    kind: Kind, counts: Counts, *, model: str = SOL, user: str = "ann", day: date = DAY, served: bool = True
) -> LedgerSum:
    """Returns a sum of the ledger."""
    return LedgerSum(
        day=day,
        model=model,
        user=user,
        served=served,
        counts=counts,
        cost=Decimal(0),
        endpoint=PATHS.get(kind, "/v1/responses"),
        tool=kind if kind in TOOLS else None,
    )


def theirs(kind: Kind, counts: Counts, *, model: str | None = SOL, day: date = DAY, **other: Any) -> UsageFigure:
    """Returns a figure of OpenAI."""
    return UsageFigure(day, model, other.pop("key", None), counts, kind=kind, **other)


def compared(
    sums: Sequence[LedgerSum], figures: Sequence[UsageFigure], keys: Mapping[str, str] | None = None, days: int = 1
) -> Reconciliation:
    """Compares the kinds of these figures."""
    spans = dict.fromkeys((figure.kind for figure in figures), (DAY, DAY.replace(day=days)))
    return compare(Figures([*figures], [], spans, None), sums, [], keys=keys or {})


def differences(result: Reconciliation) -> list[tuple[Kind | None, dict[str, Any]]]:
    """Returns the kind and the differences of each line."""
    return [(line.kind, line.differences) for line in result.lines]


@pytest.mark.parametrize("kind", PATHS)
def test_endpoint_is_compared_with_its_own_usage(kind: Kind) -> None:
    """A request more at OpenAI is a difference of the endpoint's kind alone."""
    others = [theirs(other, Counts(requests=1)) for other in PATHS if other is not kind]
    sums = [ours(other, Counts(requests=1)) for other in PATHS]
    result = compared(sums, [theirs(kind, Counts(requests=2)), *others])
    assert differences(result) == [(kind, {"requests": 1})]


@pytest.mark.parametrize(
    "name", ["cached", "cache_write", "cache_write_12h", "audio_input", "audio_output", "input", "output"]
)
@pytest.mark.parametrize("kind", [Kind.COMPLETIONS, Kind.DECISIONS])
def test_every_kind_of_token_is_compared(kind: Kind, name: str) -> None:
    """One token more in the ledger is a difference of this count alone."""
    result = compared([ours(kind, Counts(**{name: 8}))], [theirs(kind, Counts(**{name: 7}))])
    assert differences(result) == [(kind, {name: -1})]


@pytest.mark.parametrize("name", ["cached_audio", "image_input", "cached_image", "image_output"])
def test_tokens_that_answers_do_not_tell_apart_are_not_compared(name: str) -> None:
    """A chat's answer has no image tokens, so the ledger cannot have them; where it has some, they are compared."""
    figure = theirs(Kind.COMPLETIONS, Counts(requests=1, **{name: 7}))
    assert compared([ours(Kind.COMPLETIONS, Counts(requests=1))], [figure]).equal
    assert not compared([ours(Kind.COMPLETIONS, Counts(requests=1, **{name: 8}))], [figure]).equal


def test_parts_without_figures_are_not_compared() -> None:
    """An export has no cache writes."""
    counts = Counts(requests=1, input=10, cached=2, output=3, cache_write=4)
    assert compared([ours(Kind.COMPLETIONS, counts)], [theirs(Kind.COMPLETIONS, main_counts(1, 10, 2, 3))]).equal


def test_embeddings_have_input_alone() -> None:
    """Their tokens are compared."""
    result = compared(
        [ours(Kind.EMBEDDINGS, Counts(requests=1, input=9))], [theirs(Kind.EMBEDDINGS, Counts(requests=1, input=10))]
    )
    assert differences(result) == [(Kind.EMBEDDINGS, {"input": 1})]


def test_moderations_are_compared_over_all_models() -> None:
    """The ledger has no model where the request names none."""
    sums = [ours(Kind.MODERATIONS, Counts(requests=2), model="")]
    figure = theirs(Kind.MODERATIONS, Counts(requests=2, input=9), model="omni-moderation-made-up")
    assert compared(sums, [figure]).equal


def test_tokens_of_images_are_not_in_their_usage() -> None:
    """OpenAI's usage of images has requests and images, the ledger tokens."""
    figure = theirs(Kind.IMAGES, Counts(requests=1), quantity=3, unit="images")
    assert compared([ours(Kind.IMAGES, Counts(requests=1, input=10, output=900))], [figure]).equal


def test_images_are_named() -> None:
    """They are OpenAI's count, beside the requests that differ."""
    [line] = compared([], [theirs(Kind.IMAGES, Counts(requests=1), quantity=3, unit="images")]).lines
    assert (line.finding, line.quantity, line.unit) == (Finding.NOT_IN_LEDGER, 3, "images")


@pytest.mark.parametrize(
    ("seconds", "whole", "equal"), [("60.4", 61, True), ("60", 62, False), ("61.9", 60, True), ("0", 50, True)]
)
def test_whole_seconds_are_compared(seconds: str, whole: int, equal: bool) -> None:
    """OpenAI's seconds are whole for each request. Where the ledger has none the answer reported tokens."""
    sums = [ours(Kind.TRANSCRIPTIONS, Counts(requests=2, seconds=Decimal(seconds)))]
    assert compared(sums, [theirs(Kind.TRANSCRIPTIONS, Counts(requests=2, seconds=whole))]).equal is equal


def test_model_of_images_among_completions_is_compared() -> None:
    """If OpenAI counts its tokens there, they are those of the endpoint for images."""
    sums = [ours(Kind.IMAGES, Counts(requests=1, input=10, output=900, image_output=900))]
    equal = theirs(Kind.COMPLETIONS, Counts(requests=5, input=10, output=900, image_output=900))
    other = theirs(Kind.COMPLETIONS, Counts(requests=5, input=10, output=901, image_output=900))
    assert compared(sums, [equal]).equal
    assert differences(compared(sums, [other])) == [(Kind.COMPLETIONS, {"output": 1})]


def test_snapshot_that_drew_is_compared_with_its_alias() -> None:
    """The ledger has the name of the price, OpenAI's completions that of the snapshot."""
    counts = Counts(requests=None, input=10, output=900, image_output=900)
    drawing = ours(Kind.IMAGES, counts, model="gpt-image-2.6", served=False)
    figure = theirs(
        Kind.COMPLETIONS, Counts(requests=1, input=10, output=900, image_output=900), model="gpt-image-2.6-2026-04-21"
    )
    assert compared([drawing], [figure]).equal


@pytest.mark.parametrize("tool", TOOLS)
def test_calls_of_tools_are_compared(tool: Kind) -> None:
    """The ledger's calls of a day and user are those of all models."""
    sums = [ours(tool, Counts(calls=3)), ours(tool, Counts(calls=4), model="gpt-6-luna")]
    assert compared(sums, [theirs(tool, Counts(calls=7), model=None)]).equal
    assert differences(compared(sums, [theirs(tool, Counts(calls=9), model=None)])) == [(tool, {"calls": 2})]


def test_calls_of_one_model_are_not_those_of_another() -> None:
    """The line names both models, though there are as many calls in all."""
    sums = [ours(Kind.WEB_SEARCH, Counts(calls=3)), ours(Kind.WEB_SEARCH, Counts(calls=4), model="gpt-6-luna")]
    figures = [
        theirs(Kind.WEB_SEARCH, Counts(calls=4)),
        theirs(Kind.WEB_SEARCH, Counts(calls=3), model="gpt-6-luna"),
    ]
    [line] = compared(sums, figures).lines
    assert (line.differences, line.models) == ({}, {SOL: 1, "gpt-6-luna": -1})


def test_calls_are_no_requests_of_completions() -> None:
    """Calls of tools are compared with their own usage alone."""
    sums = [ours(Kind.COMPLETIONS, Counts(requests=1)), ours(Kind.WEB_SEARCH, Counts(calls=3))]
    result = compared(sums, [theirs(Kind.COMPLETIONS, Counts(requests=1))])
    assert (result.equal, result.left_out) == (True, {})


def test_kinds_without_figures_are_left_out() -> None:
    """The requests are counted by endpoint."""
    sums = [ours(Kind.COMPLETIONS, Counts(requests=1)), ours(Kind.EMBEDDINGS, Counts(requests=2))]
    result = compared(sums, [theirs(Kind.COMPLETIONS, Counts(requests=1))])
    assert (result.equal, result.kinds, result.left_out) == (True, [Kind.COMPLETIONS], {"/v1/embeddings": 2})


def test_batches_are_not_through_this_agent() -> None:
    """They are named, and not compared with the requests of the agent."""
    figures = [
        theirs(Kind.COMPLETIONS, Counts(requests=1)),
        theirs(Kind.COMPLETIONS, Counts(requests=5, input=50), source="batches"),
    ]
    [line] = compared([ours(Kind.COMPLETIONS, Counts(requests=1))], figures).lines
    assert (line.finding, line.name, line.openai) == (
        Finding.NOT_THROUGH_AGENT,
        "batches",
        Counts(requests=5, input=50),
    )


def test_speech_and_storage_are_not_through_this_agent() -> None:
    """Characters are added up; the bytes that are stored are those of one day."""
    figures = [
        theirs(Kind.SPEECHES, Counts(requests=1), quantity=20, unit="characters"),
        theirs(Kind.SPEECHES, Counts(requests=1), quantity=30, unit="characters", day=DAY.replace(day=2)),
        theirs(Kind.VECTOR_STORES, Counts(), model=None, quantity=70, unit="bytes"),
        theirs(Kind.VECTOR_STORES, Counts(), model=None, quantity=60, unit="bytes", day=DAY.replace(day=2)),
    ]
    lines = compared([], figures, days=2).lines
    assert [(line.kind, line.quantity, line.finding) for line in lines] == [
        (Kind.SPEECHES, 50, Finding.NOT_THROUGH_AGENT),
        (Kind.VECTOR_STORES, 70, Finding.NOT_THROUGH_AGENT),
    ]


def test_project_of_a_user_is_mapped() -> None:
    """Sessions of the code interpreter are divided by project at most."""
    sums = [ours(Kind.CODE_INTERPRETER, Counts(calls=3)), ours(Kind.CODE_INTERPRETER, Counts(calls=1), user="bob")]
    figures = [
        theirs(Kind.CODE_INTERPRETER, Counts(calls=5), model=None, project="proj_ann"),
        theirs(Kind.CODE_INTERPRETER, Counts(calls=1), model=None, project="proj_bob"),
    ]
    [line] = compared(sums, figures, {"proj_ann": "ann", "proj_bob": "bob"}).lines
    assert (line.user, line.differences) == ("ann", {"calls": 2})


def test_key_says_more_than_its_project() -> None:
    """A user's key may be in a project of another."""
    figure = theirs(Kind.COMPLETIONS, Counts(requests=1), key="key_ann", project="proj_bob")
    keys = {"key_ann": "ann", "proj_bob": "bob"}
    assert compared([ours(Kind.COMPLETIONS, Counts(requests=1))], [figure], keys).equal


def test_figures_without_projects_are_compared_over_all_users() -> None:
    """Keys do not divide the sessions of the code interpreter."""
    sums = [ours(Kind.CODE_INTERPRETER, Counts(calls=3)), ours(Kind.CODE_INTERPRETER, Counts(calls=1), user="bob")]
    assert compared(sums, [theirs(Kind.CODE_INTERPRETER, Counts(calls=4), model=None)], {"key_ann": "ann"}).equal


def test_keys_without_a_user_are_named() -> None:
    """Their requests did not pass through the agent, or the mapping lacks them."""
    figures = [theirs(Kind.COMPLETIONS, Counts(requests=1), key=key) for key in ("key_x", "key_ann", "key_a")]
    [line] = compared([ours(Kind.COMPLETIONS, Counts(requests=1))], figures, {"key_ann": "ann"}).lines
    assert (line.user, line.keys) == ("(others)", ["key_a", "key_x"])


@pytest.mark.parametrize("kind", [Kind.COMPLETIONS, Kind.WEB_SEARCH])
def test_figures_without_keys_are_refused(kind: Kind) -> None:
    """The error states how to get them."""
    with pytest.raises(InvalidValue, match="group_by=api_key_id"):
        compared([], [theirs(kind, Counts())], {"key_ann": "ann"})


def test_model_missing_on_all_days_is_one_line() -> None:
    """Its days are the first and the last one that differ."""
    figures = [theirs(Kind.COMPLETIONS, Counts(requests=1, input=5), day=DAY.replace(day=day)) for day in (2, 4, 9)]
    [line] = compared([], figures, days=30).lines
    assert (line.day, line.days, line.openai) == (
        None,
        (DAY.replace(day=2), DAY.replace(day=9)),
        Counts(requests=3, input=15),
    )


def test_model_missing_on_some_days_has_a_line_for_each() -> None:
    """On the other days both sides have it."""
    figures = [theirs(Kind.COMPLETIONS, Counts(requests=1), day=DAY.replace(day=day)) for day in (2, 4, 9)]
    sums = [ours(Kind.COMPLETIONS, Counts(requests=1), day=DAY.replace(day=4))]
    assert [line.day for line in compared(sums, figures, days=30).lines] == [DAY.replace(day=2), DAY.replace(day=9)]
