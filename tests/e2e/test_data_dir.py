"""What a cluster keeps on disk is for its owner alone, and when it is damaged no reason to fail for ever."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from attrs import frozen

from .cluster import Cluster, Sllm, eventually

FILES = {
    *("secret", "head.key", "node.key", "credentials.json", "state.db", "deployments.json", "api-keys.json"),
    *("node.log", "routing.json", "attempts"),
}
PORTS = ("--port", "0", "--cluster-port", "0", "--transport-port", "0", "--worker-port", "0")


@frozen
class Used:
    """A data directory, with the modes of what was in it while the cluster ran, and when it had stopped."""

    path: Path
    running: dict[Path, int]
    stopped: dict[Path, int]


@pytest.fixture(scope="module")
def cluster_was(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Used]:
    """What is left of a cluster that has served a chat, with the most generous umask there is."""
    data_dir = tmp_path_factory.mktemp("sllm") / "not" / "there" / "yet"
    before = os.umask(0)
    try:
        cluster = Cluster(data_dir, "--demo")
    finally:
        os.umask(before)
    try:
        cluster.wait_ready()
        assert cluster.ask()
        eventually(lambda: {path.name for path in modes(data_dir)} >= FILES, what="all files are there")
        running = modes(data_dir)
        assert cluster.sllm.stop() == 0
        yield Used(data_dir, running, modes(data_dir))
    finally:
        cluster.close()


@pytest.fixture
def used(cluster_was: Used) -> Path:
    return cluster_was.path


def modes(data_dir: Path) -> dict[Path, int]:
    found = {}
    for place, folders, files in os.walk(data_dir):  # which passes over what goes meanwhile
        for path in (Path(place, name) for name in (".", *folders, *files)):
            with suppress(FileNotFoundError):
                found[path] = path.lstat().st_mode
    return found


def test_files_of_state_and_logs_are_their_owners_alone(cluster_was: Used) -> None:
    for found in (cluster_was.running, cluster_was.stopped):
        assert {path.name for path in found} >= FILES
        open_to_others = {
            str(path): oct(mode)
            for path, mode in found.items()
            if not stat.S_ISLNK(mode) and not stat.S_ISSOCK(mode) and mode & 0o077
        }
        assert open_to_others == {}
    assert cluster_was.path / "state.db-wal" in cluster_was.running


def test_a_cluster_whose_replaceable_files_are_all_damaged_comes_up_and_serves(used: Path) -> None:
    replaceable = [
        used / "worker" / "attempts",
        used / "worker" / "cluster.json",
        used / "gateway-0" / "cluster.json",
        used / "gateway-0" / "routing.json",
    ]
    for number, path in enumerate(replaceable):
        path.write_bytes((b"", b"\xff\x00\x91", b"[[1]]", path.read_bytes()[:-5])[number])
    (used / "worker" / "leases" / "e.sock.json").write_text("{")
    cluster = Cluster(used, "--demo")
    try:
        cluster.wait_ready()
        assert cluster.ask()
        for path in [*replaceable, used / "worker" / "leases" / "e.sock.json"]:
            cluster.sllm.wait_for(f"file.damaged.*path={path}")
            assert path.with_name(f"{path.name}.damaged").exists()
        assert cluster.sllm.stop() == 0
    finally:
        cluster.close()
    assert "Traceback" not in cluster.sllm.output
    assert "starting it again" not in cluster.sllm.output


def test_a_deployment_of_which_nothing_runs_comes_back_although_the_database_is_gone(used: Path) -> None:
    for path in used.glob("state.db*"):
        path.unlink()
    cluster = Cluster(used)  # nothing is deployed again
    try:
        cluster.wait_ready()
        assert cluster.ask()
        cluster.sllm.wait_for("store.deployments_taken_from_file.*deployments=1")
        assert cluster.sllm.stop() == 0
    finally:
        cluster.close()
    assert "Traceback" not in cluster.sllm.output


@pytest.mark.parametrize(
    "name", ["cluster-id", "state.db", "head.key", "worker/node.key", "worker/credentials.json"]
)
def test_a_cluster_with_a_damaged_file_that_nobody_can_replace_ends_at_once_and_names_it(
    used: Path, name: str
) -> None:
    path = used / name
    aside = path.rename(path.with_name("aside"))
    path.mkdir()
    sllm = Sllm("up", "--data-dir", str(used), *PORTS)
    try:
        assert sllm.ended() == 1
        sllm.stop()
    finally:
        sllm.kill_all()
        path.rmdir()
        aside.rename(path)
    assert str(path) in sllm.output
    assert "Traceback" not in sllm.output
    assert "starting it again" not in sllm.output
