"""``sllm keys``: keys are made, listed, changed and deleted; a new one is printed once."""

from __future__ import annotations

import json

import pytest

from .conftest import Sllm
from .server import PlayedGateway


def test_a_new_key_is_all_that_standard_output_has_and_a_person_is_told_to_keep_it(
    sllm: Sllm, gateway: PlayedGateway
) -> None:
    ended = sllm("keys", "create", "chat", "--share", "2.5")
    assert (ended.code, ended.out) == (0, "sllm-key-1\n")
    assert ended.err == "This is the key chat. Keep it: it is not shown again.\n"
    assert gateway.bodies("POST", "/keys") == [{"name": "chat", "share": 2.5}]
    made = json.loads(sllm("keys", "create", "batch", "--json").out)
    assert (made["name"], made["key"], made["share"]) == ("batch", "sllm-key-2", 1.0)


def test_keys_are_listed_with_their_shares(sllm: Sllm, gateway: PlayedGateway) -> None:
    assert sllm("keys", "list").out == "There are no keys. sllm keys create NAME makes one.\n"
    for name, share in (("chat", "2"), ("batch", "0.25")):
        sllm("keys", "create", name, "--share", share)
    ended = sllm("keys", "list")
    assert ended.code == 0
    rows = [line.split() for line in ended.out.splitlines()]
    assert rows[0] == ["NAME", "SHARE", "AGE"]
    assert [row[:2] for row in rows[1:]] == [["batch", "0.25"], ["chat", "2"]]
    listed = json.loads(sllm("keys", "list", "--json").out)["keys"]
    assert [each["name"] for each in listed] == ["batch", "chat"]
    assert "sllm-key" not in ended.out + str(listed)


def test_a_key_gets_another_share(sllm: Sllm, gateway: PlayedGateway) -> None:
    sllm("keys", "create", "chat")
    ended = sllm("keys", "update", "chat", "--share", "3")
    assert (ended.code, ended.out) == (0, "The key chat has the share 3.\n")
    assert json.loads(sllm("keys", "update", "chat", "--share", "4", "--json").out)["share"] == 4.0
    assert gateway.bodies("PATCH", "/keys/chat") == [{"share": 3.0}, {"share": 4.0}]


def test_a_key_is_deleted(sllm: Sllm, gateway: PlayedGateway) -> None:
    sllm("keys", "create", "chat")
    ended = sllm("keys", "delete", "chat")
    assert (ended.code, ended.out) == (0, "chat is deleted\n")
    sllm("keys", "create", "chat")
    assert json.loads(sllm("keys", "delete", "chat", "--json").out)["name"] == "chat"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("create", "chat"), "there is a key chat"),
        (("update", "lost", "--share", "2"), "there is no key lost"),
        (("delete", "lost"), "there is no key lost"),
    ],
)
def test_what_the_head_refuses_is_an_error_in_one_line(
    sllm: Sllm, gateway: PlayedGateway, words: tuple[str, ...], sentence: str
) -> None:
    sllm("keys", "create", "chat")
    ended = sllm("keys", *words)
    assert (ended.code, ended.out, ended.err) == (1, "", f"error: {sentence}\n")


@pytest.mark.parametrize("words", [("create", "chat"), ("update", "chat")])
@pytest.mark.parametrize("share", ["x", "nan", "inf", ""])
def test_a_share_that_is_no_number_is_a_wrong_command_line(
    sllm: Sllm, gateway: PlayedGateway, words: tuple[str, ...], share: str
) -> None:
    ended = sllm("keys", *words, "--share", share)
    assert ended.code == 2
    assert "is not a number" in ended.err
    assert not gateway.requests
