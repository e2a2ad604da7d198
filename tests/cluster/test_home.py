"""A node's directory: one identity, one live process, lives that only ever count up."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.children import child
from tests.small_disk import small_disk

from sllm_actors.cluster.home import MAX_CLUSTERS, HomeProblem, NodeHome, later_counter
from sllm_actors.testing.node_keys import key_of
from sllm_actors.transport import Credential, issue_credential

HOLD = """
import sys
from pathlib import Path
from sllm_actors.cluster.home import NodeHome
home = NodeHome.open(Path(sys.argv[1]), "worker")
print(home.node, flush=True)
sys.stdin.read()
"""


def test_the_identity_is_made_once_and_each_life_is_a_later_one(tmp_path: Path) -> None:
    lives = []
    nodes = set()
    for _ in range(3):
        home = NodeHome.open(tmp_path / "worker", "worker")
        nodes.add(home.node)
        lives += [home.next_incarnation(), home.next_incarnation()]
        home.close()
    assert len(nodes) == 1
    assert nodes.pop().startswith("worker-")
    counters = [life.counter for life in lives]
    assert counters == sorted(set(counters))
    assert stat.S_IMODE((tmp_path / "worker" / "node.json").stat().st_mode) == 0o600


@pytest.mark.slow
def test_a_live_duplicate_is_refused_until_the_owner_has_ended_in_any_way(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with child(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        node = owner.stdout.readline().strip()
        with pytest.raises(HomeProblem, match="another process runs the node"):
            NodeHome.open(tmp_path, "worker")
    home = NodeHome.open(tmp_path, "worker")
    assert node.startswith("worker-")
    home.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"node": "x"}', '{"node": "x", "counter": "many"}'])
def test_an_identity_that_cannot_be_read_is_named_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / "node.json").write_text(text)
    with pytest.raises(HomeProblem, match=r"node\.json .* move the file away"):
        NodeHome.open(tmp_path, "worker")
    assert (tmp_path / "node.json").read_text() == text
    (tmp_path / "node.json").unlink()
    NodeHome.open(tmp_path, "worker").close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HomeProblem, match=r"the data directory .* cannot be used"):
        NodeHome.open(tmp_path / "file" / "worker", "worker")


def test_a_life_that_cannot_be_written_begins_and_those_after_it_are_later(tmp_path: Path) -> None:
    now = 1_000_000.0
    home = NodeHome.open(tmp_path / "w", "worker", clock=lambda: now)
    lives = [home.next_incarnation()]
    (tmp_path / "w").rename(tmp_path / "away")
    with capture_logs() as logs:
        lives += [home.next_incarnation(), home.next_incarnation()]
    assert [(each["event"], each["log_level"]) for each in logs] == 2 * [
        ("node.identity_not_written", "warning")
    ]
    assert logs[0]["reason"] == "No such file or directory"
    home.close()
    (tmp_path / "away").rename(tmp_path / "w")
    assert json.loads((tmp_path / "w" / "node.json").read_text())["counter"] == lives[0].counter
    again = NodeHome.open(tmp_path / "w", "worker", clock=lambda: now + 0.01)
    assert again.node == home.node
    lives.append(again.next_incarnation())
    again.close()
    assert json.loads((tmp_path / "w" / "node.json").read_text())["counter"] == lives[-1].counter
    counters = [life.counter for life in lives]
    assert counters == sorted(set(counters))


@given(st.lists(st.tuples(st.booleans(), st.floats(0.002, 1e9)), max_size=30), st.integers(0, 10**12))
def test_lives_are_in_order_whichever_was_written(starts: list[tuple[bool, float]], kept: int) -> None:
    now, before = 1.7e9, kept
    for is_written, passed in starts:
        now += passed
        counter = later_counter(kept, now)
        assert counter > before
        before = counter
        if is_written:
            kept = counter


def test_lives_that_are_written_are_in_order_whatever_the_clock_says() -> None:
    kept, counters = 0, []
    for now in (2e9, 1e9, 0.0, 3e9, 3e9):
        kept = later_counter(kept, now)
        counters.append(kept)
    assert counters == sorted(set(counters))


def test_the_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    keys = set()
    for _ in range(2):
        home = NodeHome.open(tmp_path, "worker")
        keys.add(home.key.public_key)
        home.close()
    assert len(keys) == 1
    assert stat.S_IMODE((tmp_path / "node.key").stat().st_mode) == 0o600


def test_a_node_of_sllm_0_1_keeps_its_id_gets_a_key_and_joins_anew(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text('{"node": "worker-1", "counter": 5}')
    (tmp_path / "credentials.json").write_text(json.dumps({"c": "ab" * 32}))
    home = NodeHome.open(tmp_path, "worker")
    assert home.node == "worker-1"
    assert home.credential("c") is None
    home.keep_credential("c", issued(home))
    home.close()
    again = NodeHome.open(tmp_path, "worker")
    assert again.credential("c") == issued(again)
    again.close()


def issued(home: NodeHome, cluster: str = "c", head: str = "head.key") -> Credential:
    return issue_credential(
        key_of(head), cluster=cluster, node=home.node, role="worker", public_key=home.key.public_key
    )


def test_once_a_head_is_known_only_forgetting_it_lets_another_in(tmp_path: Path) -> None:
    home = NodeHome.open(tmp_path, "worker")
    home.next_incarnation()
    home.keep_credential("c", issued(home))
    with pytest.raises(
        ValueError, match="signed by another key than the one of the head that this node joined"
    ):
        home.keep_credential("c", issued(home, head="a new head.key"))
    assert home.credential("c") == issued(home)
    home.keep_credential("d", issued(home, "d", head="a new head.key"))
    home.forget_credential("c")
    home.forget_credential("c")
    home.close()
    again = NodeHome.open(tmp_path, "worker")
    assert again.credential("c") is None
    assert again.credential("d") == issued(again, "d", head="a new head.key")
    again.keep_credential("c", issued(again, head="a new head.key"))
    again.close()


@pytest.mark.parametrize(
    "change",
    [{"cluster": "d"}, {"node": "worker-else"}, {"role": "gateway"}, {"public_key": b"k" * 32}],
    ids=lambda change: next(iter(change)),
)
def test_a_credential_that_is_not_this_nodes_is_not_kept(tmp_path: Path, change: dict[str, Any]) -> None:
    home = NodeHome.open(tmp_path, "worker")
    with pytest.raises(ValueError, match="not for this node and its key"):
        home.keep_credential("c", evolve(issued(home), **change))
    with pytest.raises(ValueError, match="not signed by the head"):
        home.keep_credential("c", evolve(issued(home), signature=bytes(64)))
    assert home.credential("c") is None
    home.close()


def test_only_the_clusters_that_gave_a_credential_last_are_remembered(tmp_path: Path) -> None:
    home = NodeHome.open(tmp_path, "worker")
    for number in range(MAX_CLUSTERS + 2):
        home.keep_credential(f"c{number}", issued(home, f"c{number}"))
    home.close()
    again = NodeHome.open(tmp_path, "worker")
    assert again.credential("c1") is None
    assert again.credential("c2") is not None
    assert again.credential(f"c{MAX_CLUSTERS + 1}") is not None
    again.close()


def test_on_a_full_disk_a_new_node_goes_on_and_is_on_disk_whole_or_not_at_all(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        folder = disk.folder / "w"
        folder.mkdir()
        (folder / "lock").touch()
        disk.fill()
        home = NodeHome.open(folder, "worker")
        home.next_incarnation()
        with pytest.raises(OSError, match="No space left"):
            home.keep_credential("c", issued(home))
        assert home.credential("c") == issued(home)
        assert {path.name for path in folder.iterdir()} == {"lock"}
        disk.free()
        home.next_incarnation()
        home.keep_credential("c", issued(home))
        home.close()
        again = NodeHome.open(folder, "worker")
        assert (again.node, again.key.public_key) == (home.node, home.key.public_key)
        assert again.credential("c") == issued(again)
        again.close()


def test_on_a_full_disk_a_node_that_has_an_id_and_no_key_does_not_start(tmp_path: Path) -> None:
    """Its id would be bound to a key that its next start does not have."""
    with small_disk(tmp_path / "disk") as disk:
        (disk.folder / "lock").touch()
        (disk.folder / "node.json").write_text('{"node": "worker-1", "counter": 5}')
        disk.fill()
        with pytest.raises(
            HomeProblem, match=r"node\.key cannot be written .No space left.*: free some space"
        ):
            NodeHome.open(disk.folder, "worker")


def test_a_head_that_cannot_be_forgotten_is_still_the_one(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        home = NodeHome.open(disk.folder, "worker")
        home.keep_credential("c", issued(home))
        disk.fill()
        with pytest.raises(HomeProblem, match=r"the old head cannot be forgotten.*free some space"):
            home.forget_credential("c")
        assert home.credential("c") == issued(home)
        home.close()
