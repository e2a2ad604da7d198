"""``sllm delete``: it means the right deployment, and returns when that is gone."""

from __future__ import annotations

import pytest

from sllm_actors.cli.commands import delete

from .conftest import Sllm
from .server import PlayedGateway, deployment


def test_a_model_is_deleted_and_waited_for(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(deployment("facebook/opt-1.3b:vllm"))
    ended = sllm("delete", "facebook/opt-1.3b")
    assert (ended.code, ended.out) == (0, "Deleted: facebook/opt-1.3b:vllm\n")
    assert gateway.polls_until_gone < 0


@pytest.mark.slow
def test_an_id_a_backend_and_several_names_are_understood(sllm: Sllm, gateway: PlayedGateway) -> None:
    for name in ("a:vllm", "a:llamacpp", "b:llamacpp"):
        gateway.add(deployment(name))
    assert sllm("delete", "a:vllm").out == "Deleted: a:vllm\n"
    ended = sllm("delete", "a", "b", "a", "--backend", "llamacpp")
    assert (ended.code, ended.out) == (0, "Deleted: a:llamacpp\nDeleted: b:llamacpp\n")


def test_an_ambiguous_model_deletes_nothing_and_names_the_choices(sllm: Sllm, gateway: PlayedGateway) -> None:
    for name in ("a:vllm", "a:llamacpp", "b:vllm"):
        gateway.add(deployment(name))
    ended = sllm("delete", "b", "a")
    assert ended.code == 1
    assert ended.err == "error: a is deployed more than once: name one of a:llamacpp, a:vllm\n"
    assert [method for method, _, _ in gateway.requests] == ["GET", "GET"]


@pytest.mark.slow
def test_rm_is_the_same_under_a_name_that_people_know(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(deployment("a:vllm"), deployment("b:vllm"))
    assert sllm("rm", "a", "b:vllm").out == "Deleted: a:vllm\nDeleted: b:vllm\n"


def test_an_unknown_name_is_an_error(sllm: Sllm, gateway: PlayedGateway) -> None:
    ended = sllm("delete", "gone")
    assert (ended.code, ended.err) == (1, "error: no deployment gone: sllm status lists what is there\n")
    gateway.add(deployment("a:vllm"))
    ended = sllm("delete", "a", "--backend", "sglang")
    assert (ended.code, ended.err.partition(":")[2][:33]) == (1, " no deployment a with backend sgl")


def test_a_deletion_that_takes_too_long_is_told(sllm: Sllm, gateway: PlayedGateway) -> None:
    gateway.add(deployment("a:vllm"))
    gateway.polls_until_gone = 10_000
    ended = sllm("delete", "a", "--timeout", "0.1")
    assert (ended.code, ended.err) == (1, "error: a:vllm still not gone after 0 s: the deletion goes on\n")


@pytest.mark.slow
def test_a_deletion_that_takes_its_time_tells_what_it_waits_for(
    sllm: Sllm, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delete, "SILENT_SECONDS", 0.0)
    gateway.add(deployment("a:vllm"))
    gateway.polls_until_gone = 3
    ended = sllm("delete", "a")
    assert (ended.code, ended.out) == (0, "Deleted: a:vllm\n")
    assert ended.err == "a:vllm: deleting\n"


@pytest.mark.slow
def test_a_model_whose_name_is_a_path_can_be_deleted(sllm: Sllm, gateway: PlayedGateway) -> None:
    for name in ("/models/opt:vllm", "./opt:vllm", "../a b?c#d%2F:vllm"):
        gateway.add(deployment(name))
        gateway.polls_until_gone = 1
        ended = sllm("delete", name)
        assert (ended.code, ended.err) == (0, "")
