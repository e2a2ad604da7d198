"""What the head answers to those who want API keys made, changed, deleted and listed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from sllm_actors.serving.journal.noted import Noted
from sllm_actors.serving.keys.messages import CreateKey, DeleteKey, KeyRequest, ListKeys, UpdateKey
from sllm_actors.serving.keys.requests import MOST_KEYS, KeyChange, decide
from sllm_actors.serving.keys.secret import digest_of, make_secret
from sllm_actors.serving.messages import Done, Refusal
from sllm_actors.serving.store.records import ApiKeyRecord
from sllm_actors.serving.store.writes import DropApiKey, PutApiKey

CHAT = ApiKeyRecord("chat", "5f", 1.0, 10.0)
KNOWN = {"chat": CHAT, "batch": ApiKeyRecord("batch", "6e", 0.25, 20.0)}


def changed(request: KeyRequest, known: Mapping[str, ApiKeyRecord] = KNOWN) -> tuple[Any, dict[str, Any]]:
    found = decide(known, request, 30.0)
    assert isinstance(found, KeyChange), found
    return found.write, json.loads(found.answer.document)


def refused(request: KeyRequest, known: Mapping[str, ApiKeyRecord] = KNOWN, **more: int) -> Refusal:
    found = decide(known, request, 30.0, **more)
    assert isinstance(found, Refusal), found
    return found


def test_a_key_is_kept_with_its_digest_its_share_and_its_time_and_shown_without_the_digest() -> None:
    write, shown = changed(CreateKey("research-2", "7d", 2.5))
    assert write == PutApiKey(ApiKeyRecord("research-2", "7d", 2.5, 30.0))
    assert shown == {"name": "research-2", "share": 2.5, "created": 30.0}


@pytest.mark.parametrize(
    ("request_", "noted"),
    [
        (CreateKey("new", "7d", 2.5), Noted("new", "key.created", "the key new is made, with the share 2.5")),
        (
            UpdateKey("batch", 4.0),
            Noted("batch", "key.changed", "the key batch has the share 4 from now on, and had 0.25"),
        ),
        (
            DeleteKey("chat"),
            Noted("chat", "key.deleted", "the key chat is deleted: gateways refuse it from now on"),
        ),
    ],
)
def test_the_journal_is_told_of_each_change_and_of_no_digest(request_: KeyRequest, noted: Noted) -> None:
    found = decide(KNOWN, request_, 30.0)
    assert isinstance(found, KeyChange)
    assert found.noted == noted


def test_another_share_leaves_the_rest_of_a_key_as_it_is() -> None:
    write, shown = changed(UpdateKey("chat", 4.0))
    assert write == PutApiKey(ApiKeyRecord("chat", "5f", 4.0, 10.0))
    assert shown == {"name": "chat", "share": 4.0, "created": 10.0}


def test_a_key_that_is_deleted_is_dropped_by_its_name() -> None:
    write, shown = changed(DeleteKey("chat"))
    assert write == DropApiKey("chat")
    assert shown == {"name": "chat", "message": "the key chat is deleted: gateways refuse it from now on"}


def test_keys_are_listed_by_name() -> None:
    found = decide(KNOWN, ListKeys(), 30.0)
    assert isinstance(found, Done)
    assert json.loads(found.document) == {
        "keys": [
            {"name": "batch", "share": 0.25, "created": 20.0},
            {"name": "chat", "share": 1.0, "created": 10.0},
        ]
    }


@pytest.mark.parametrize("name", ["", "a b", "-a", ".a", "a/b", "é", "a\n", "x" * 65, "a:b"])
def test_a_name_that_would_have_to_be_quoted_is_refused(name: str) -> None:
    problem = refused(CreateKey(name, "7d"))
    assert (problem.code, problem.param) == ("invalid_name", "name")
    assert "\n" not in problem.message


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "0", "x" * 64])
def test_plain_names_are_taken(name: str) -> None:
    changed(CreateKey(name, "7d"))


@pytest.mark.parametrize("share", [0.0, -1.0, float("nan"), float("inf"), 0.0009, 1000.5])
def test_a_share_that_nobody_can_have_is_refused_and_the_range_told(share: float) -> None:
    for request in (CreateKey("new", "7d", share), UpdateKey("chat", share)):
        problem = refused(request)
        assert (problem.code, problem.param) == ("invalid_share", "share")
        assert "from 0.001 to 1000" in problem.message


@pytest.mark.parametrize("name", ["chat", "admin"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    assert refused(CreateKey(name, "7d")).code == "key_exists"


@pytest.mark.parametrize("request_", [UpdateKey("lost", 2.0), DeleteKey("lost"), DeleteKey("admin")])
def test_a_name_that_is_unknown_is_refused_with_what_lists_the_others(request_: KeyRequest) -> None:
    problem = refused(request_)
    assert problem.code == "key_not_found"
    assert "sllm keys list" in problem.message


def test_there_is_a_bound_which_counts_keys_that_are_just_being_added() -> None:
    many = {f"k{number}": CHAT for number in range(MOST_KEYS - 1)}
    changed(CreateKey("last", "7d"), many)
    assert refused(CreateKey("last", "7d"), many, adding=1).code == "too_many_keys"
    problem = refused(CreateKey("one-more", "7d"), many | {"last": CHAT})
    assert problem.message == (
        "there are 1000 keys, and there may be no more: delete one that nobody uses first"
    )


def test_a_secret_fits_into_a_header_and_no_two_are_the_same() -> None:
    made = {make_secret() for _ in range(100)}
    assert len(made) == len({digest_of(each.encode()) for each in made}) == 100
    assert all(each.startswith("sllm-key-") and each.isascii() and len(each) == 52 for each in made)
