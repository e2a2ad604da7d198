"""A node's directory: one identity, one live process, lives that only ever count up."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.children import child

from sllm_actors.cluster.home import HomeProblem, NodeHome

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
    assert [life.counter for life in lives] == [1, 2, 3, 4, 5, 6]
    assert lives == sorted(lives)
    assert stat.S_IMODE((tmp_path / "worker" / "node.json").stat().st_mode) == 0o600


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


def test_a_life_that_cannot_be_written_does_not_begin(tmp_path: Path) -> None:
    home = NodeHome.open(tmp_path / "w", "worker")
    first = home.next_incarnation()
    (tmp_path / "w").rename(tmp_path / "away")
    with pytest.raises(OSError, match="No such file"):
        home.next_incarnation()
    (tmp_path / "away").rename(tmp_path / "w")
    assert home.next_incarnation().counter == first.counter + 1
    assert json.loads((tmp_path / "w" / "node.json").read_text())["counter"] == 2
    home.close()
