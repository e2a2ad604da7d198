"""A node's directory: one identity, one live process, lives that only ever count up."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.children import child

from sllm_actors.cluster.home import HomeProblem, NodeHome, later_counter

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
