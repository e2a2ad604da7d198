"""The head's actor keeps API keys, and tells gateways of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.serving.head import ADMIN_DIGEST, Head, running_head

from sllm_actors.serving.keys.messages import CreateKey, DeleteKey, KnownKey, ListKeys, UpdateKey
from sllm_actors.serving.store.problem import StoreProblem
from sllm_actors.serving.views.messages import DescribeEvents

pytestmark = pytest.mark.anyio

DIGEST = "5f" * 32
ADMIN = KnownKey("admin", ADMIN_DIGEST, admin=True)


async def listed(head: Head) -> list[str]:
    outcome, document = await head.ask(ListKeys())
    assert outcome == "done"
    return [each["name"] for each in document["keys"]]


async def test_a_gateway_hears_of_each_key_by_its_digest_and_of_the_admin_key(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        early = await head.up("g1", "gateway")
        assert early.keys == {"admin": ADMIN}
        assert (await head.ask(CreateKey("chat", "5f", 2.0)))[0] == "done"
        assert (await head.ask(CreateKey("batch", "6e")))[0] == "done"
        await head.rest()
        wanted = {"admin": ADMIN, "chat": KnownKey("chat", "5f", 2.0), "batch": KnownKey("batch", "6e")}
        assert early.keys == wanted
        late = await head.up("g2", "gateway")
        assert late.keys == wanted
        assert (await head.ask(UpdateKey("chat", 0.5)))[0] == "done"
        assert (await head.ask(DeleteKey("batch")))[0] == "done"
        await head.rest()
        assert early.keys == late.keys == {"admin": ADMIN, "chat": KnownKey("chat", "5f", 0.5)}
        assert await listed(head) == ["chat"], "the admin key is none of those that people manage"


async def test_a_change_is_told_by_itself_and_not_with_all_other_keys(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.up("g1", "gateway")
        for number in range(20):
            await head.ask(CreateKey(f"k{number}", f"{number:x}"))
        await head.rest()
        before = len(head.network.told["g1"])
        await head.ask(UpdateKey("k7", 3.0))
        await head.rest()
        told = [each for each in head.network.told["g1"][before:] if hasattr(each, "put")]
        assert [each.put for each in told] == [(KnownKey("k7", "7", 3.0),)]


async def test_a_head_that_restarts_has_the_keys_that_it_had(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.ask(CreateKey("chat", "5f", 2.0))
        await head.ask(CreateKey("lost", "7d"))
        await head.ask(DeleteKey("lost"))
    async with running_head(tmp_path) as head:
        gateway = await head.up("g1", "gateway")
        assert gateway.keys == {"admin": ADMIN, "chat": KnownKey("chat", "5f", 2.0)}
        assert await listed(head) == ["chat"]


async def told(head: Head) -> list[tuple[str, str]]:
    outcome, document = await head.ask(DescribeEvents(kind="key"))
    assert outcome == "done"
    assert DIGEST not in str(document), "no digest is shown"
    return [(each["subject"], each["kind"]) for each in document["events"]]


async def test_the_journal_tells_of_each_change_once_it_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [("chat", "key.created"), ("chat", "key.changed"), ("chat", "key.deleted")]
    async with running_head(tmp_path) as head:
        await head.ask(CreateKey("chat", DIGEST))
        assert (await head.ask(CreateKey("chat", DIGEST)))[0] == "conflict"
        await head.ask(UpdateKey("chat", 2.0))
        await head.ask(DeleteKey("chat"))
        assert await told(head) == changes
        await head.rest()

        def refuse(_writes: Any) -> None:
            raise StoreProblem("the disk is full")

        head.away = True
        with monkeypatch.context() as patch:
            patch.setattr(head.store, "apply", refuse)
            assert (await head.ask(CreateKey("lost", DIGEST)))[0] == "unavailable"
        assert await told(head) == changes
    async with running_head(tmp_path) as head:
        assert await told(head) == changes, "a head that restarts tells of them, too"


async def test_of_two_who_make_a_key_of_one_name_at_once_one_makes_it(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        answers: list[tuple[str, dict[str, Any]]] = []

        async def make(digest: str) -> None:
            answers.append(await head.ask(CreateKey("chat", digest)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(make, "5f")
            tasks.start_soon(make, "6e")
        assert sorted(outcome for outcome, _ in answers) in (["conflict", "done"], ["done", "conflict"])
        assert await listed(head) == ["chat"]
        assert (await head.ask(CreateKey("chat", "7d")))[0] == "conflict"


async def test_a_key_that_cannot_be_stored_is_not_told_of_and_may_be_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_head(tmp_path) as head:
        gateway = await head.up("g1", "gateway")
        apply = head.store.apply

        def refuse(_writes: Any) -> None:
            raise StoreProblem("the disk is full")

        head.away = True
        monkeypatch.setattr(head.store, "apply", refuse)
        outcome, problem = await head.ask(CreateKey("chat", "5f"))
        assert (outcome, problem["code"]) == ("unavailable", "store_unavailable")
        assert "chat" not in gateway.keys
        assert await listed(head) == []
        head.away = False
        monkeypatch.setattr(head.store, "apply", apply)
        assert (await head.ask(CreateKey("chat", "5f")))[0] == "done"


async def test_what_is_said_of_a_key_in_a_log_has_no_digest() -> None:
    assert "5f5f" not in repr(CreateKey("chat", "5f5f")) + repr(KnownKey("chat", "5f5f"))
