"""Names that do not exist, in every filter, and names that are probably mistakes."""

import pytest

from tests.support.administrator import KEY, Administrator

pytestmark = pytest.mark.shared_agent


@pytest.mark.parametrize(
    "path",
    [
        "/budgets?user=ALICE",
        "/tokens?user=ALICE",
        "/usage?user=ALICE",
        "/usage?model=GPT-6-luna",
        "/ledger/rows?user=ALICE",
        "/price-history?model=GPT-6-luna",
        "/audit?actor=CAROL",
        "/users/ALICE",
    ],
)
async def test_unknown_name_is_not_found(admin: Administrator, path: str) -> None:
    """An empty list would look like no usage; the message has the name that is probably meant."""
    answer = await admin.ask("GET", path)
    assert (answer.status, "did you mean" in answer.error["message"]) == (404, True)


@pytest.mark.parametrize("path", ["/budgets?token=99", "/usage?token=99", "/audit?object_id=999"])
async def test_unknown_id_is_not_found(admin: Administrator, path: str) -> None:
    """An id that never existed is no empty list."""
    assert (await admin.ask("GET", path)).status == 404


async def test_what_if_of_an_unknown_model_is_not_found(admin: Administrator) -> None:
    """Neither the requests nor the other price may be of a model that does not exist."""
    for body in ({"model": "o9"}, {"as_model": "o9"}):
        assert (await admin.ask("POST", "/price-what-if", {"since": "2026-01-01", **body})).status == 404


async def test_probable_mistake_is_refused(admin: Administrator) -> None:
    """The answer is 422 and does not repeat the key."""
    for body in ({"name": "'dora'"}, {"openai_key": f"KEY={KEY}"}, {"openai_key": "cga_" + "0" * 49}):
        answer = await admin.ask("POST", "/users", {"name": "dora", "openai_key": KEY, **body})
        assert (answer.status, KEY.encode() in answer.body) == (422, False)
    price = {"model": "gpt-6*", "input": "1", "output": "1"}
    assert (await admin.ask("POST", "/prices", price)).status == 422


async def test_warning_is_a_header(admin: Administrator) -> None:
    """A user with a name that looks like another one is added; the header says so in ASCII."""
    answer = await admin.ask("POST", "/users", {"name": "ａｌｉｃｅ", "openai_key": KEY})
    assert answer.status == 201
    assert "looks like that of another user" in (answer.header("X-Agent-Warning") or "")
    answer = await admin.ask("PATCH", "/users/alice", {"allowed_models": ["o9"]})
    assert answer.header("X-Agent-Warning") == "no model with a price matches 'o9' of the allowed models"


async def test_rename_applies_to_its_version_only(admin: Administrator) -> None:
    """A name that is in use is a conflict; rows and tokens stay the user's."""
    assert (await admin.ask("POST", "/users/alice/rename", {"name": "bob"})).status == 409
    old = str((await admin.ask("GET", "/users/alice")).header("ETag"))
    assert (await admin.ask("PATCH", "/users/alice", {"comment": "changed"})).status == 200
    assert (await admin.ask("POST", "/users/alice/rename", {"name": "anna"}, If_Match=old)).status == 412
    assert (await admin.ask("POST", "/users/alice/rename", {"name": "anna"})).json["name"] == "anna"
    assert (await admin.ask("GET", "/ledger/rows?user=anna")).json["data"][0]["user"] == "anna"
