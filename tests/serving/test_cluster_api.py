"""The head's own HTTP: workers and instances in pages, each of them by its id, and sentences for mistakes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from attrs import define
from tests.serving.picture.world import World

from sllm_actors.actors import Actor, ActorSystem, ChildSpec
from sllm_actors.cluster.join import ClusterInfo
from sllm_actors.serving.cluster_api import cluster_app
from sllm_actors.serving.messages import CONTROLLER
from sllm_actors.serving.views.answers import answer

KEY = "the-admin-key"


class Asked(Actor):
    """Answers questions from a picture, as the head's actor does."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def receive(self, message: Any) -> Any:
        return answer(self._world.picture, message, self._world.now)


@define
class Api:
    """The head's HTTP over a picture."""

    world: World
    client: Any

    async def get(self, path: str) -> tuple[int, Any, str]:
        """Return status, document and the header ``Link``."""
        said = await self.client.get(path, headers={"Authorization": f"Bearer {KEY}"})
        return said.status_code, await said.get_json(), said.headers.get("Link", "")


@asynccontextmanager
async def head_http(world: World) -> AsyncIterator[Api]:
    async with ActorSystem() as system:
        await system.start(ChildSpec(CONTROLLER, lambda: Asked(world), name=CONTROLLER))
        app = cluster_app(ClusterInfo("cluster", 8001), system, admin_key=KEY)
        yield Api(world, app.test_client())


@pytest.fixture
def world() -> World:
    world = World()
    for number in range(3):
        world.worker(f"w{number}", gpus=number)
    for name in ("a", "b", "/models/c"):
        world.deploy(name)
    world.ready()
    return world


pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


@pytest.mark.parametrize("path", ["/workers", "/instances"])
async def test_the_link_of_each_page_leads_to_the_next_one(world: World, path: str) -> None:
    async with head_http(world) as api:
        status, everything, link = await api.get(path)
        assert (status, link, len(everything)) == (200, "", 3)
        pages, target = [], f"{path}?limit=2"
        while target:
            status, page, link = await api.get(target)
            assert status == 200
            pages.append(page)
            assert not link or link.endswith('; rel="next"')
            target = link.partition("<")[2].partition(">")[0]
        assert [len(page) for page in pages] == [2, 1]
        assert [each for page in pages for each in page] == everything


async def test_a_page_keeps_the_filters_of_the_one_before(world: World) -> None:
    async with head_http(world) as api:
        _, first, link = await api.get("/instances?limit=1&state=ready&node=w1")
        target = link.partition("<")[2].partition(">")[0]
        assert {each["node"] for each in first} <= {"w1"}
        if target:
            assert re.search(r"[?&]state=ready(&|$)", target)
            assert re.search(r"[?&]node=w1(&|$)", target)
        _, on_all, _ = await api.get("/instances?state=ready")
        assert len(on_all) == 3
        _, none, _ = await api.get("/instances?state=failed")
        assert none == []


async def test_the_guides_example_holds(world: World) -> None:
    async with head_http(world) as api:
        _, workers, _ = await api.get("/workers")
        assert [{key: each[key] for key in ("id", "gpu_units", "status")} for each in workers] == [
            {"id": f"w{number}", "gpu_units": number, "status": "ready"} for number in range(3)
        ]


async def test_one_worker_or_instance_is_asked_for_by_its_id(world: World) -> None:
    async with head_http(world) as api:
        _, workers, _ = await api.get("/workers")
        assert (await api.get("/workers/w2"))[:2] == (200, workers[2])
        _, instances, _ = await api.get("/instances")
        for each in instances:
            path = "/instances/" + each["id"].replace("/", "%2F")
            assert (await api.get(path))[:2] == (200, each)


@pytest.mark.parametrize(
    ("path", "status", "param"),
    [
        ("/workers/nobody", 404, None),
        ("/instances/nobody:vllm@1.2.3", 404, None),
        ("/instances?deployment=nobody:vllm", 404, "deployment"),
        ("/instances?node=nobody", 404, "node"),
        ("/workers?cursor=damaged", 400, "cursor"),
        ("/workers?limit=0", 400, "limit"),
        ("/instances?limit=x", 400, "limit"),
        ("/workers?role=worker", 400, "role"),
    ],
)
async def test_a_mistake_is_one_sentence_with_the_right_status(
    world: World, path: str, status: int, param: str | None
) -> None:
    async with head_http(world) as api:
        said, document, _ = await api.get(path)
        error = document["error"]
        assert (said, error["param"]) == (status, param)
        assert error["message"]
        assert "\n" not in error["message"]


async def test_a_head_whose_actor_is_away_says_so(world: World) -> None:
    async with ActorSystem() as system:
        client = cluster_app(ClusterInfo("cluster", 8001), system, admin_key=KEY).test_client()
        said, document, _ = await Api(world, client).get("/workers")
        assert (said, document["error"]["code"]) == (503, "head_busy")
