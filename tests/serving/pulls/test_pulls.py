"""The pulls of one worker: the real downloader against a server that speaks the hub's file API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
from attrs import evolve
from tests.models.hub_server import HubServer, run_hub
from tests.models.test_hub import GGUF, downloaders, environment
from tests.serving.kit import until

from sllm_actors.models.hub import Hub
from sllm_actors.models.store import ModelStore
from sllm_actors.serving.pulls import pulls as module
from sllm_actors.serving.pulls.messages import (
    CancelPull,
    DescribePull,
    PullModel,
    PullReport,
    PullState,
)
from sllm_actors.serving.pulls.pulls import Pulls

pytestmark = pytest.mark.anyio

TINY = ("llamacpp", "hf:org/tiny")
MODEL = b"GGUF" + GGUF


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    """Run on the loop of production only: each test starts programs."""
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture
def server() -> Iterator[HubServer]:
    with run_hub() as running:
        running.put("org/tiny", {"tiny.gguf": MODEL, "README.md": b"# tiny"})
        yield running


@pytest.fixture
def store(server: HubServer, tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", Hub(environment(server)))


@pytest.fixture
async def tasks() -> AsyncIterator[anyio.abc.TaskGroup]:
    async with anyio.create_task_group() as group:
        yield group
        group.cancel_scope.cancel()


@pytest.fixture
def pulls(tasks: anyio.abc.TaskGroup, store: ModelStore) -> Pulls:
    return Pulls(tasks.start_soon, store, str, "w1")


async def ended(pulls: Pulls, what: tuple[str, str] = TINY) -> PullReport:
    """Wait until a pull is over."""
    with anyio.fail_after(60):
        while (report := await pulls.answer(DescribePull(*what))).state.under_way:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.01)
    return report


async def begun(pulls: Pulls, server: HubServer) -> None:
    """Begin a pull that lasts, and wait until some of it is here."""
    server.step_delay = 0.1
    assert (await pulls.answer(PullModel(*TINY))).state is PullState.QUEUED
    with anyio.fail_after(60):
        while not (await pulls.answer(DescribePull(*TINY))).done:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.01)


@pytest.mark.slow
async def test_a_pull_brings_the_files_and_tells_bytes_on_the_way(pulls: Pulls, server: HubServer) -> None:
    await begun(pulls, server)
    report = await pulls.answer(PullModel(*TINY))  # asked again, it is the same pull
    assert report.state is PullState.PULLING
    assert 0 < report.done < report.total == len(MODEL)
    assert report.progress == f"downloading org/tiny: {report.done * 100 // report.total} % of 6.0 MB"
    server.step_delay = 0.0
    assert await ended(pulls) == PullReport(PullState.DONE, len(MODEL), len(MODEL))
    assert len(server.gets()) == 1


@pytest.mark.slow
async def test_what_is_here_is_known_from_the_disk_and_the_hub_is_not_asked(
    pulls: Pulls, tasks: anyio.abc.TaskGroup, store: ModelStore, server: HubServer
) -> None:
    assert await pulls.answer(DescribePull(*TINY)) == PullReport(PullState.ABSENT)
    await pulls.answer(PullModel(*TINY))
    await ended(pulls)
    asked = list(server.asked)
    later = Pulls(tasks.start_soon, store, str, "w1")  # of a worker that was started anew
    for question in (DescribePull(*TINY), PullModel(*TINY), CancelPull(*TINY)):
        assert (await later.answer(question)).state is PullState.DONE
    assert server.asked == asked


@pytest.mark.slow
async def test_a_cancelled_pull_leaves_no_process_and_the_next_one_goes_on_where_it_ended(
    pulls: Pulls, server: HubServer
) -> None:
    await begun(pulls, server)
    assert (await pulls.answer(CancelPull(*TINY))).state is PullState.CANCELLED
    await until(lambda: downloaders() == [])
    for question in (DescribePull(*TINY), CancelPull(*TINY)):
        assert (await pulls.answer(question)).state is PullState.CANCELLED
    server.step_delay = 0.0
    await pulls.answer(PullModel(*TINY))
    assert (await ended(pulls)).state is PullState.DONE
    assert len(server.ranges()) == 1


@pytest.mark.slow
async def test_a_replica_that_needs_the_model_shares_the_pull_and_survives_its_cancellation(
    pulls: Pulls, store: ModelStore, tasks: anyio.abc.TaskGroup, server: HubServer
) -> None:
    await begun(pulls, server)
    lent, said = anyio.Event(), list[str]()

    async def start() -> None:
        async with store.lend(*TINY, str, said.append):
            lent.set()

    tasks.start_soon(start)
    await until(lambda: any("downloading" in each for each in said))
    assert len(server.gets()) == 1
    await pulls.answer(CancelPull(*TINY))
    server.step_delay = 0.0
    with anyio.fail_after(60):
        await lent.wait()
    assert (await pulls.answer(DescribePull(*TINY))).state is PullState.DONE
    assert len(server.ranges()) == 1  # it went on where the pull ended


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "source", "sentence"),
    [
        ("llamacpp", "hf:org/nothing", "has no org/nothing, or it is private"),
        ("llamacpp", "hf:org/secret", "org/secret is gated: accept its terms at"),
        ("vllm", "hf:org/tiny", "hf:org/tiny has GGUF files only: deploy it with --backend llamacpp"),
        ("llamacpp", "hf:org/tiny@v9", "org/tiny has no revision v9: name a branch, tag or commit"),
        ("llamacpp", "hf:a/b/c", "hf:a/b/c does not name a model on a hub"),
        ("llamacpp", "/no/such.gguf", "/no/such.gguf does not exist on worker w1"),
        ("llamacpp", "demo:nobody", "there is no demo model 'nobody'"),
        ("command", "hf:org/tiny", "there is nothing to pull for the backend command"),
    ],
)
async def test_what_cannot_be_brought_is_explained(
    pulls: Pulls, server: HubServer, backend: str, source: str, sentence: str
) -> None:
    server.put("org/secret", {"a.gguf": b"GGUF"})
    server.gated["org/secret"] = "token"
    await pulls.answer(PullModel(backend, source))
    report = await ended(pulls, (backend, source))
    assert report.state in (PullState.FAILED, PullState.ABSENT)
    report = await pulls.answer(PullModel(backend, source)) if report.state is PullState.ABSENT else report
    assert sentence in report.reason


@pytest.mark.slow
async def test_a_hub_that_is_away_a_full_quota_and_a_full_disk_are_explained(
    tasks: anyio.abc.TaskGroup, store: ModelStore
) -> None:
    away = Hub({**store.hub.environment, "HF_ENDPOINT": "http://127.0.0.1:9"})
    for broken, sentence in (
        (evolve(store, hub=away), "http://127.0.0.1:9 cannot be reached from worker w1"),
        (evolve(store, quota=1000), "it needs 6.0 MB, and worker w1's models may have 1.0 kB"),
        (evolve(store, free=lambda _: 1000), "hf:org/tiny needs 6.0 MB more in"),
    ):
        failing = Pulls(tasks.start_soon, broken, str, "w1")
        await failing.answer(PullModel(*TINY))
        report = await ended(failing)
        assert report.state is PullState.FAILED
        assert sentence in report.reason
        assert report.reason.count("\n") == 0


@pytest.mark.slow
async def test_a_failed_pull_is_tried_again_when_it_is_asked_for_again(
    tasks: anyio.abc.TaskGroup, store: ModelStore, server: HubServer
) -> None:
    pulls = Pulls(tasks.start_soon, store, str)
    server.damage = True
    await pulls.answer(PullModel(*TINY))
    assert "came damaged" in (await ended(pulls)).reason
    server.damage = False
    assert (await pulls.answer(DescribePull(*TINY))).state is PullState.FAILED
    await pulls.answer(PullModel(*TINY))
    assert (await ended(pulls)).state is PullState.DONE


@pytest.mark.slow
async def test_few_models_are_brought_at_a_time_and_the_others_wait_in_turn(
    pulls: Pulls, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PULLS", 3)
    server.step_delay = 0.1
    names = [f"org/m{number}" for number in range(4)]
    for name in names:
        # Half a minute at that pace: the first are not here before it is seen what waits.
        server.put(name, {"m.gguf": b"GGUF" + bytes(20_000_000) + name.encode()})
    asked = [("llamacpp", f"hf:{name}") for name in names]
    reports = [await pulls.answer(PullModel(*each)) for each in asked]
    assert [each.state for each in reports] == [*[PullState.QUEUED] * 3, PullState.FAILED]
    assert reports[3].reason == "worker w1 is to bring 3 models already: ask again later"
    with anyio.fail_after(60):
        while len({path.split("/")[2] for path in server.gets()}) < 2:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    waiting = await pulls.answer(DescribePull(*asked[2]))
    assert (waiting.state, waiting.progress) == (PullState.QUEUED, "waiting until other models are here")
    server.step_delay = 0.0
    for each in asked[:3]:
        assert (await ended(pulls, each)).state is PullState.DONE


@pytest.mark.slow
async def test_of_pulls_that_have_ended_only_some_are_remembered(
    pulls: Pulls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PULLS", 2)
    asked = [("llamacpp", f"hf:org/none{number}") for number in range(4)]
    for each in asked:
        await pulls.answer(PullModel(*each))
        assert (await ended(pulls, each)).state is PullState.FAILED
    states = [(await pulls.answer(DescribePull(*each))).state for each in asked]
    assert states == [*[PullState.ABSENT] * 2, *[PullState.FAILED] * 2]


async def test_a_path_and_a_packaged_model_are_used_where_they_are(
    pulls: Pulls, tmp_path: Path, server: HubServer
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(MODEL)
    assert await pulls.answer(PullModel("llamacpp", str(path))) == PullReport(
        PullState.DONE, len(MODEL), len(MODEL)
    )
    assert server.asked == []
