"""Each file that a node reads at its start, damaged in every way: it is made anew with a warning that names
it and says what that means, or the start is refused in one sentence that names it and a remedy."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import frozen
from structlog.testing import capture_logs
from tests.serving.store.stored import deployed

from sllm_actors.cluster.home import NodeHome, SetupProblem
from sllm_actors.cluster.join import ClusterInfo
from sllm_actors.cluster.secret import ClusterKeys, find_secret, head_key, make_credentials
from sllm_actors.disk import Disk
from sllm_actors.engines.ownership.attempts import Attempts
from sllm_actors.engines.ownership.leases import Lease, Leases
from sllm_actors.engines.warm.late_imports import Learned, read_learned, write_learned
from sllm_actors.files import write_record
from sllm_actors.gateway.routing.memory.snapshot_file import Snapshot, SnapshotFile
from sllm_actors.models.folder import ModelFolder
from sllm_actors.models.hub import Listing
from sllm_actors.models.hub_source import RepoFile
from sllm_actors.nodes.membership import Membership, find_membership
from sllm_actors.nodes.settings import WorkerNodeSettings
from sllm_actors.nodes.worker import run_worker
from sllm_actors.serving.messages import WorkerAddress
from sllm_actors.serving.store.database import sqlite_url
from sllm_actors.serving.store.store import Store
from sllm_actors.serving.worker.epoch import ObeyedEpoch
from sllm_actors.testing.node_keys import key_of
from sllm_actors.transport import issue_credential


@frozen
class StateFile:
    """A file, how it comes to be, and what reads it."""

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], Any]


def identity(path: Path) -> tuple[str, int]:
    home = NodeHome.open(path.parent, "worker")
    try:
        credential = issue_credential(
            key_of("head.key"), cluster="c", node=home.node, role="worker", public_key=home.key.public_key
        )
        home.keep_credential("c", credential)
        return home.node, home.next_incarnation().counter
    finally:
        home.close()


def member(path: Path) -> ClusterInfo | None:
    async def find() -> Membership | None:
        stopping = anyio.Event()
        stopping.set()  # it is not to wait for a head
        return await find_membership(settings, home, stopping)

    settings = WorkerNodeSettings(name="w", data_dir=path.parent, head_host="127.0.0.1", head_port=1)
    home = NodeHome.open(path.parent, "worker")
    try:
        found = anyio.run(find)
    finally:
        home.close()
    return None if found is None else found.info


def store(path: Path) -> int:
    opened = Store.open(sqlite_url(path))
    try:
        for number in range(20):
            opened.apply(deployed(str(number), f"m{number}:vllm"))
        return len(opened.load().deployments)
    finally:
        opened.close()


def sweep(path: Path) -> int:
    return len(Leases(path.parent, "boot").sweep())


def lease(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Leases(path.parent, "another boot").write(Lease(path.stem, "another boot", 1.0, "/r/a.sock", "/r/t/a"))


def obey(path: Path) -> None:
    anyio.run(ObeyedEpoch(path, Disk()).rise, 3)


def keys(path: Path) -> ClusterKeys:
    return make_credentials(path.parent, None)


REFUSED = [
    StateFile("node.json", identity, identity),
    StateFile("node.key", identity, identity),
    StateFile("credentials.json", identity, identity),
    StateFile("head.key", lambda path: head_key(path.parent), lambda path: head_key(path.parent)),
    StateFile("secret", keys, lambda path: find_secret(path, path)),
    StateFile("secret", keys, lambda path: find_secret(path.parent, None)),
    StateFile("secret", keys, keys),
    StateFile("admin-key", keys, keys),
    StateFile("cluster-id", keys, keys),
    StateFile("state.db", store, store),
]
ANEW = [
    StateFile("attempts", lambda path: Attempts(path).next(), lambda path: Attempts(path).next()),
    StateFile("epoch.json", obey, lambda path: ObeyedEpoch(path, Disk()).value),
    StateFile("leases/a.sock.json", lease, sweep),
    StateFile("cluster.json", lambda path: write_record(path, ClusterInfo("c", 8001), durable=True), member),
    StateFile(
        "routing.json",
        lambda path: SnapshotFile(path).save(1, Snapshot(workers=(WorkerAddress("w", "h", 8002),))),
        lambda path: SnapshotFile(path).load(),
    ),
    StateFile(
        "vllm.json",
        lambda path: write_learned(path, Learned("vllm", ("a.b",))),
        lambda path: read_learned(path, "vllm"),
    ),
    StateFile(
        "listing.json",
        lambda path: ModelFolder(path.parent).write_listing(Listing("c" * 40, (RepoFile("a/b", 3),))),
        lambda path: ModelFolder(path.parent).read_listing(),
    ),
]
EMPTY: dict[str, object] = {"vllm.json": Learned("vllm"), "leases/a.sock.json": 0, "epoch.json": 0}


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut_in_half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def scrambled(path: Path) -> None:
    path.write_bytes(random.Random(len(path.name)).randbytes(600))


def a_list(path: Path) -> None:
    path.write_text("[[], 1, {}]")


def a_huge_number(path: Path) -> None:
    path.write_text("9" * 3000)


def too_long(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(65 * 2**20)


def a_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


WAYS = [emptied, cut_in_half, scrambled, a_list, a_huge_number, too_long, a_folder]


@pytest.fixture
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path)  # some are large


def damaged(file: StateFile, way: Callable[[Path], None], folder: Path) -> Path:
    path = folder / file.name
    file.make(path)
    assert path.is_file()
    way(path)
    return path


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("file", ANEW, ids=lambda file: file.name)
def test_what_can_be_learnt_again_is_made_anew_with_a_warning_that_names_it(
    file: StateFile, way: Callable[[Path], None], path: Path
) -> None:
    where = damaged(file, way, path)
    with capture_logs() as logs:
        found = file.read(where)
        again = file.read(where)
    if file.name == "attempts":
        assert again > found > 1_700_000_000, "beyond whatever was counted"
    else:
        assert found == again == EMPTY.get(file.name)
    warnings = [each for each in logs if each["event"] == "file.damaged"]
    assert [(each["log_level"], each["path"]) for each in warnings] == [("warning", str(where))]
    assert warnings[0]["reason"]
    assert warnings[0]["meaning"]
    file.make(where)
    assert file.read(where) is not None, "it can be written again"


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("file", REFUSED, ids=lambda file: file.name)
def test_what_cannot_be_made_up_refuses_the_start_with_a_remedy_and_stays_as_it_is(
    file: StateFile, way: Callable[[Path], None], path: Path
) -> None:
    where = damaged(file, way, path)
    before = None if where.is_dir() else where.read_bytes()
    with pytest.raises(SetupProblem) as refused:
        file.read(where)
    sentence = str(refused.value)
    assert str(where) in sentence
    assert any(remedy in sentence for remedy in ("put back", "move the file away", "--secret-file"))
    assert "\n" not in sentence
    assert len(sentence) < 400
    assert before == (None if where.is_dir() else where.read_bytes())


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
@pytest.mark.parametrize("file", [REFUSED[1], REFUSED[3]], ids=lambda file: file.name)
def test_a_private_key_that_everybody_can_get_at_refuses_the_start(
    file: StateFile, mode: int, tmp_path: Path
) -> None:
    path = tmp_path / file.name
    file.make(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(mode)
    with pytest.raises(SetupProblem, match=f"{path} can be got at by every user.*: chmod 600 it"):
        file.read(path)
    path.chmod(0o640)  # a group that is there for it
    file.read(path)


@pytest.mark.parametrize("name", ["leases", "logs"])
def test_a_file_in_the_place_of_a_workers_folder_refuses_the_start(tmp_path: Path, name: str) -> None:
    async def start() -> None:
        stopping = anyio.Event()
        stopping.set()
        await run_worker(settings, stopping)

    make_credentials(tmp_path, None)
    settings = WorkerNodeSettings(name="worker", data_dir=tmp_path, head_host="127.0.0.1", head_port=1)
    settings.home.mkdir()
    (settings.home / name).write_text("in the way")
    with pytest.raises(SetupProblem, match=f"worker/{name}: File exists"):
        anyio.run(start)
