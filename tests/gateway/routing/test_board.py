"""Which deployment a name means, and what a change of one route costs."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.kit import replica, served

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.gateway.routing.board import Board
from sllm_actors.gateway.routing.route import Route, make_route


def route(*reports: ReplicaReport, deployment: str = "smol:llamacpp", model: str | None = None) -> Route:
    name, _, backend = deployment.rpartition(":")
    said = evolve(served(name if model is None else model, backend), id=deployment)
    return make_route(deployment, said, [("worker-1", report) for report in reports], patience=5)


def test_a_name_means_the_deployment_that_can_answer() -> None:
    board = Board()
    board.publish(route(deployment="m:a"))
    board.publish(route(replica("m:b"), deployment="m:b"))
    assert board.find("m") == board.routes["m:b"], "it has a ready replica"
    assert board.find("m", "a") == board.routes["m:a"]
    assert board.find("m:a") == board.routes["m:a"]
    assert board.find("m", "c") is board.find("m:a", "b") is board.find("n") is None
    board.publish(route(deployment="m:b"))
    assert board.find("m") == board.routes["m:a"], "the first by id"
    board.publish(route(replica("m:a", ReplicaState.FAILED), deployment="m:a"))
    assert board.find("m") == board.routes["m:b"], "the other one has not failed"


def test_all_deployments_that_a_name_could_mean_are_told() -> None:
    board = Board()
    for deployment in ("m:b", "m:a", "n:a"):
        board.publish(route(deployment=deployment))
    assert board.meant("m") == ["m:a", "m:b"]
    assert board.meant("m:b") == ["m:b"]
    assert board.meant("x") == []


def test_models_are_listed_by_names_that_lead_to_them() -> None:
    board = Board()
    for deployment in ("m:a", "m:b", "org/n:a", "n:a:b", "n:a"):
        board.publish(route(deployment=deployment))
    listed = board.listed()
    assert [name for name, _ in listed] == sorted(["m:a", "m:b", "org/n", "n:a:b", "n"])
    for name, found in listed:
        assert board.find(name) == found
    board.withdraw("m:b")
    assert "m" in [name for name, _ in board.listed()]


def test_an_alias_means_its_deployment_and_is_not_listed() -> None:
    board = Board()

    def named(deployment: str, *aliases: str) -> Route:
        made = route(deployment=deployment)
        assert made.served is not None
        return evolve(made, served=evolve(made.served, aliases=aliases))

    board.publish(named("m:a", "gpt", "m"))
    board.publish(named("n:a"))
    assert board.find("gpt") is board.find("m") is board.routes["m:a"]
    assert board.find("gpt", "b") is None
    assert [name for name, _ in board.listed()] == ["m", "n"]
    board.publish(named("m:a", "other"))
    assert board.find("gpt") is None
    assert board.find("other") is board.routes["m:a"]
    board.publish(named("n:a", "other"))
    assert board.find("other") is board.routes["m:a"], "should two have it, the first by id"
    board.withdraw("m:a")
    assert board.find("other") is board.routes["n:a"]


def test_what_is_not_served_has_no_name() -> None:
    board = Board()
    board.publish(make_route("other:vllm", None, [("w", replica("other:vllm"))], patience=5))
    assert board.find("other") is board.find("other:vllm") is None
    assert (board.routes, board.listed()) == ({}, [])


def test_what_is_missing_may_be_deployed_as_long_as_not_all_is_known() -> None:
    board = Board()
    unknown = board.missing("m")
    assert (unknown.status, unknown.code, unknown.retry_after) == (503, "head_unavailable", 1)
    board.complete = True
    assert (board.missing("m").status, board.missing("m").code) == (404, "model_not_found")


def test_of_a_model_that_another_backend_serves_it_is_told_which() -> None:
    board = Board()
    board.publish(route(deployment="m:x", model="m"))
    assert board.missing("m", "y").code == "head_unavailable"
    board.complete = True
    missing = board.missing("m", "y")
    assert (missing.status, missing.code, missing.param) == (404, "model_not_found", "backend")
    assert missing.message == "the model 'm' is not deployed with the backend 'y': there is m:x"
    assert board.missing("n", "y").param == "model"


def test_a_deployment_that_serves_under_another_name_is_found_by_that_one() -> None:
    board = Board()
    board.publish(route(deployment="a:x", model="one"))
    board.publish(route(deployment="a:x", model="two"))
    assert board.find("one") is None
    assert board.find("two") == board.routes["a:x"]


CHANGES = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["", "m", "n", "o"])), max_size=40)


@given(CHANGES)
def test_names_are_those_of_a_board_that_is_made_anew(changes: list[tuple[str, str]]) -> None:
    board = Board()
    last: dict[str, str] = {}
    for deployment, model in changes:
        last[deployment] = model
        if model:
            board.publish(route(deployment=f"{deployment}:x", model=model))
        else:
            board.withdraw(f"{deployment}:x")
    anew = Board()
    for deployment, model in sorted(last.items()):
        if model:
            anew.publish(route(deployment=f"{deployment}:x", model=model))
    assert board.listed() == anew.listed()
    assert board._names == anew._names


class CountingDict(dict[Any, Any]):
    """Counts what is read and written."""

    done = 0

    def __getitem__(self, key: Any) -> Any:
        self.done += 1
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.done += 1
        super().__setitem__(key, value)

    def __iter__(self) -> Any:
        raise AssertionError("all were walked over because of one")

    keys = values = items = __iter__


def operations(size: int) -> int:
    board = Board()
    for number in range(size):
        board.publish(route(deployment=f"m{number:06}:x"))
    board.routes, board._names = CountingDict(board.routes), CountingDict(board._names)
    board.publish(route(deployment="new:x"))
    board.publish(route(deployment="m000005:x", model="other"))
    board.withdraw("m000006:x")
    return int(board.routes.done + board._names.done)


def test_a_change_costs_the_same_on_any_board() -> None:
    assert operations(20) == operations(2_000) <= 20
