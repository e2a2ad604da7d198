"""The log never takes more than it may, and rotates without losing a line."""

from __future__ import annotations

import logging
from pathlib import Path

from sllm_actors.observe.logs import _PrivateFileHandler


def _handler(path: Path) -> _PrivateFileHandler:
    return _PrivateFileHandler(path, maxBytes=1000, backupCount=3, encoding="utf-8")


def _write(handler: _PrivateFileHandler, *texts: str) -> None:
    for text in texts:
        handler.emit(logging.LogRecord("test", logging.INFO, "", 0, text, None, None))


def test_no_file_is_larger_than_it_may_be_and_the_newest_lines_are_there(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    texts = [f"{number:03} {'é' * 40}" for number in range(100)]
    handler = _handler(path)
    _write(handler, *texts[:50])
    handler.close()
    handler = _handler(path)  # of the next life: what is there counts
    _write(handler, *texts[50:])
    handler.close()
    files = [path.with_name(f"node.log.{number}") for number in (3, 2, 1)] + [path]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert max(each.stat().st_size for each in files) <= 1000
    kept = [line for each in files for line in each.read_text().splitlines()]
    assert kept == texts[-len(kept) :]
    assert len(kept) >= 3 * (1000 // len(f"{texts[0]}\n".encode()))


def test_a_line_that_is_longer_than_a_file_has_one_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    handler = _handler(path)
    _write(handler, "x" * 2000, "short")
    handler.close()
    assert path.with_name("node.log.1").read_text() == "x" * 2000 + "\n"
    assert path.read_text() == "short\n"


def test_it_opens_the_file_again_that_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    handler = _handler(path)
    _write(handler, "first")
    handler.close()
    _write(handler, "second")
    handler.close()
    assert path.read_text() == "first\nsecond\n"
