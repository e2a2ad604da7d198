"""What was decided can be read from the head: in pages, for one deployment or node, and as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve
from tests.serving.head import Head, running_head
from tests.serving.kit import spec
from tests.serving.store.stored import change

from sllm_actors.serving import controller, journal_questions
from sllm_actors.serving.journal import journal as in_memory
from sllm_actors.serving.messages import CONTROLLER
from sllm_actors.serving.views.messages import AwaitEvents, DescribeEvents

pytestmark = pytest.mark.anyio

ALL = DescribeEvents(limit=1000)


@pytest.fixture
async def head(tmp_path: Path) -> AsyncIterator[Head]:
    async with running_head(tmp_path) as head:
        yield head


async def events(head: Head, question: DescribeEvents | AwaitEvents = ALL) -> list[dict[str, Any]]:
    outcome, document = await head.ask(question)
    assert outcome == "done", document
    listed: list[dict[str, Any]] = document["events"]
    return listed


async def test_each_entry_says_what_it_is_about_and_numbers_rise(head: Head) -> None:
    await head.join("w1", gpus=1)
    await head.deploy(spec(gpus=1))
    await head.ready("w1")
    found = await events(head)
    assert [each["number"] for each in found] == sorted({each["number"] for each in found})
    (placed,) = [each for each in found if each["kind"] == "replica.placed"]
    assert placed | {"number": 0, "at": 0.0} == {
        "number": 0,
        "at": 0.0,
        "kind": "replica.placed",
        "subject": "m:llamacpp",
        "revision": 1,
        "replica": "m:llamacpp@1.0",
        "node": "w1",
        "sentence": "m:llamacpp@1.0 goes to w1",
    }
    (linked,) = [each for each in found if each["kind"] == "node.linked"]
    assert (linked["subject"], linked["revision"], linked["replica"]) == ("w1", None, None)


async def test_a_deployment_a_model_and_a_node_by_its_name_have_their_own_lists(head: Head) -> None:
    await head.join("w1", gpus=2)
    await head.join("w2")
    for each in (
        spec(gpus=1),
        spec(gpus=1, backend="sglang"),
        spec("n", gpus=9),
    ):
        await head.deploy(each)

    async def subjects(**filters: Any) -> set[str]:
        return {each["subject"] for each in await events(head, evolve(ALL, **filters))}

    assert await subjects(subject="m:llamacpp") == {"m:llamacpp"}
    assert await subjects(subject="m") == {"m:llamacpp", "m:sglang"}
    assert await subjects(subject="w1") == {"w1", "m:llamacpp", "m:sglang"}
    assert await subjects(subject="w2") == {"w2"}
    assert await subjects(subject="m", kind="node") == set()
    assert await subjects(kind="node") == {"w1", "w2"}
    assert await subjects(kind="deployment.created", subject="n") == {"n:llamacpp"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("question", "outcome", "message"),
    [
        (DescribeEvents(limit=0), "invalid", "limit must be from 1 to 1000, not 0"),
        (DescribeEvents(kind="replica.exploded"), "invalid", "kind must be deployment, rollout, "),
        (
            DescribeEvents(subject="nobody"),
            "unknown",
            "there is no deployment, model or node 'nobody'",
        ),
        (
            AwaitEvents(DescribeEvents(subject="nobody"), 5.0),
            "unknown",
            "there is no deployment, model or node",
        ),
        (DescribeEvents(subject="twin"), "conflict", "2 workers are called twin"),
    ],
)
async def test_what_cannot_be_answered_is_refused_in_a_sentence(
    head: Head, question: Any, outcome: str, message: str
) -> None:
    for node in ("w1", "w2"):
        await head.join(node)
        head.controller._picture.fleet.nodes[node].name = "twin"
    found, document = await head.ask(question)
    assert found == outcome
    assert document["message"].startswith(message)


async def test_a_deployment_that_is_gone_still_has_its_entries(head: Head) -> None:
    await head.deploy(spec())
    await head.delete("m:llamacpp")
    assert [each["kind"] for each in await events(head, DescribeEvents(subject="m"))][
        -1
    ] == "deployment.deleted"


@pytest.mark.slow
async def test_pages_go_on_behind_each_other_over_a_restart_of_the_head_and_into_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "READ_FIRST", 3)
    monkeypatch.setattr(in_memory, "RECENT", 4)
    monkeypatch.setattr(in_memory, "SLACK", 1)
    names = [f"w{number:02}" for number in range(12)]
    async with running_head(tmp_path) as head:
        for name in names:
            await head.join(name)
        before = await events(head)
        assert [each["subject"] for each in before] == names
    async with running_head(tmp_path) as head:
        for name in names:
            await head.join(name, life=2)
        found: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            outcome, page = await head.ask(DescribeEvents(limit=5, after=after))
            assert outcome == "done"
            found += page["events"]
            after = None if page["next"] is None else int(page["next"])
        assert found[:12] == before
        assert [each["subject"] for each in found] == names + names
        assert (await events(head, DescribeEvents(limit=20))) == found[-20:]
        assert await events(head, DescribeEvents(subject="w03")) == [found[3], found[15]]


async def test_a_question_waits_for_an_entry_that_is_wanted(head: Head) -> None:
    await head.deploy(spec())
    _, page = await head.ask(ALL)
    wanted = AwaitEvents(DescribeEvents(subject="w2", after=page["last"]), 5.0)
    answers: list[dict[str, Any]] = []

    async def follow() -> None:
        answers.append((await head.ask(wanted))[1])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await head.join("w1")
        assert answers == []
        await head.join("w2")
    assert [each["kind"] for each in answers[0]["events"]] == ["node.linked"]
    assert await events(head, evolve(wanted.events, after=answers[0]["last"])) == []


async def test_a_question_that_nothing_comes_for_is_answered_in_the_end(head: Head) -> None:
    _, page = await head.ask(ALL)
    answers: list[dict[str, Any]] = []

    async def follow() -> None:
        answers.append((await head.ask(AwaitEvents(DescribeEvents(after=page["last"]), 5.0)))[1])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await head.advance(4.0)
        assert answers == []
        await head.advance(2.0)
    assert answers == [{"events": [], "last": page["last"], "next": None}]


async def test_one_question_more_than_may_wait_is_answered_at_once(
    head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_questions, "MOST_WAITING", 0)
    assert await events(head, AwaitEvents(DescribeEvents(after=10**17), 5.0)) == []


async def test_a_store_that_is_away_is_a_refusal_for_old_entries_and_none_for_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_memory, "RECENT", 2)
    monkeypatch.setattr(in_memory, "SLACK", 0)
    async with running_head(tmp_path) as head:
        for number in range(5):
            await head.join(f"w{number}")
        await anyio.to_thread.run_sync(change, tmp_path / "state.db", "ALTER TABLE journal RENAME TO away")
        refusal = await head.system.named(CONTROLLER).ask(ALL, timeout=60)
        assert refusal.code == "store_unavailable"
        assert "no such table: journal" in refusal.message
        assert len(await events(head, DescribeEvents(limit=2))) == 2
