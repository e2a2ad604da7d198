"""The logs of a worker have a bound together, and it never costs a replica that is here its log."""

from __future__ import annotations

import os
from pathlib import Path

from sllm_actors.engines.machine import log_quota as log_room
from sllm_actors.engines.machine.log_quota import drop_old_logs

SIZE = 100_000


def write_log(logs: Path, name: str, age: int, size: int = SIZE) -> Path:
    folder = logs / name
    folder.mkdir()
    for number in range(2):
        part = folder / f"{number:020}.log"
        part.write_bytes(b"x" * (size // 2))
        os.utime(part, (1000.0 - age, 1000.0 - age))
    return folder


def test_the_oldest_logs_go_first_and_only_as_many_as_are_too_many(tmp_path: Path) -> None:
    for age, name in enumerate("abcd"):
        write_log(tmp_path, name, age)
    drop_old_logs(tmp_path, tuple, 3 * SIZE - 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    drop_old_logs(tmp_path, tuple, 2 * SIZE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_log_of_a_replica_that_is_here_stays_however_old_and_large(tmp_path: Path) -> None:
    here = write_log(tmp_path, "here", age=100, size=10 * SIZE)
    write_log(tmp_path, "gone", age=1)
    drop_old_logs(tmp_path, lambda: {here}, SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_many_small_logs_are_too_many_as_well(tmp_path: Path) -> None:
    for age in range(10):
        write_log(tmp_path, f"log{age}", age, size=2)
    drop_old_logs(tmp_path, tuple, 3 * log_room.LEAST)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log0", "log1", "log2"]
