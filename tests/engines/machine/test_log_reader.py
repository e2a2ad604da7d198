"""A log keeps its positions over rotation, and is read in pieces that are whole characters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sllm_actors.engines.machine.log_reader import LONGEST_CHUNK, log_end, read_chunk, read_lines
from sllm_actors.engines.ownership import engine_log
from sllm_actors.engines.ownership.engine_log import Log


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_log, "SEGMENT", 100)


def read_all(log: Path, limit: int, offset: int = 0) -> str:
    text = ""
    while (chunk := read_chunk(log, offset, limit)).text:
        text += chunk.text
        offset = chunk.next_offset
    return text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text(max_size=300), st.integers(4, 50))
def test_reading_piece_by_piece_gives_the_text_whatever_the_limit(
    tmp_path: Path, text: str, limit: int
) -> None:
    for old in tmp_path.glob("*.log"):
        old.unlink()
    clean = text.encode("utf-8", "replace")
    Log(str(tmp_path)).write(clean)
    assert read_all(tmp_path, limit) == clean.decode()


def test_positions_stay_right_when_old_parts_are_gone(small: None, tmp_path: Path) -> None:
    lines = [f"line {number:04}\n" for number in range(100)]  # ten bytes each
    log = Log(str(tmp_path))
    for line in lines:
        log.write(line.encode())
    assert len(list(tmp_path.glob("*.log"))) == engine_log.SEGMENTS
    assert log_end(tmp_path) == 1000
    chunk = read_chunk(tmp_path, 0)
    assert chunk.offset == 600
    assert chunk.text == "".join(lines[60:])
    assert read_chunk(tmp_path, 905, 10).text == lines[90][5:] + lines[91][:5]


def test_another_writer_goes_on_where_the_last_ended(small: None, tmp_path: Path) -> None:
    for number in range(30):
        Log(str(tmp_path)).write(f"line {number:04}\n".encode())
    assert read_all(tmp_path, 64) == "".join(f"line {number:04}\n" for number in range(30))


def test_a_position_in_a_character_begins_at_the_next(tmp_path: Path) -> None:
    Log(str(tmp_path)).write("aé€😀z".encode())
    assert read_chunk(tmp_path, None, 7).text == "😀z"
    assert read_chunk(tmp_path, 0, 5).text == "aé"


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    chunk = read_chunk(tmp_path / "none", 50)
    assert (chunk.offset, chunk.next_offset, chunk.text) == (0, 0, "")
    assert read_lines(tmp_path / "none") == []


def test_the_lines_of_one_life_do_not_reach_back_into_the_life_before(tmp_path: Path) -> None:
    log = Log(str(tmp_path))
    log.write(b"old\n")
    since = log_end(tmp_path)
    log.write(b"new\n" + b"x" * 5000)
    assert read_lines(tmp_path, since) == ["new", "x" * 5000]


def test_the_lines_of_a_long_log_are_those_of_its_end(tmp_path: Path) -> None:
    lines = [f"line {number:06}" for number in range(30_000)]
    Log(str(tmp_path)).write("".join(f"{line}\n" for line in lines).encode())
    assert read_lines(tmp_path) == lines
    assert read_lines(tmp_path, limit=120_000) == lines[-10_000:]


def test_no_piece_is_longer_than_its_bound(tmp_path: Path) -> None:
    Log(str(tmp_path)).write(b"x" * 200_000)
    assert len(read_chunk(tmp_path, 0, 10**9).text) == LONGEST_CHUNK


FULL_DISK = """
import resource, sys
from sllm_actors.engines.ownership.engine_log import Log
log = Log(sys.argv[1])
soft = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, soft[1]))
log.write(b"a" * 5000)
resource.setrlimit(resource.RLIMIT_FSIZE, soft)
log.write(b"b")
"""


def test_what_the_disk_does_not_take_is_dropped_and_the_rest_goes_on(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], check=True)
    assert read_all(tmp_path, 4096) == "a" * 1000 + "b"
