"""Small files are there whole, or as they were before."""

from __future__ import annotations

from pathlib import Path

import pytest

from sllm_actors.files import write_whole


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_and_nothing_else_stays(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "record.json"
    write_whole(path, "old and longer", durable=durable)
    write_whole(path, "new", durable=durable)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("old")
    (tmp_path / "record.json.new").mkdir()  # as a full disk does: it cannot be written
    with pytest.raises(OSError, match=r"record\.json\.new"):
        write_whole(path, "new", durable=True)
    assert path.read_text() == "old"
