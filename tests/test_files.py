"""Small files are there whole, or as they were before; damaged ones are named, and put aside."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from attrs import frozen
from structlog.testing import capture_logs

from sllm_actors.files import (
    FileProblem,
    make_private_file,
    make_private_folder,
    open_regular,
    put_aside,
    read_bytes,
    read_record,
    read_text,
    write_record,
    write_whole,
)


@frozen
class Note:
    name: str
    count: int
    parts: tuple[str, ...] = ()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "note.json"


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_and_nothing_else_stays(path: Path, durable: bool) -> None:
    write_whole(path, "old and longer", durable=durable)
    write_whole(path, b"new", durable=durable)
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_a_file_is_its_owners_alone_whatever_the_umask_is(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_whole(path, "x", durable=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_folders_are_made_with_those_above_them_for_their_owner_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        for _ in range(2):
            make_private_folder(tmp_path / "a" / "b" / "c")
            make_private_file(tmp_path / "a" / "log")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")} == {0o700, 0o600}
    with pytest.raises(FileExistsError):
        make_private_folder(tmp_path / "a" / "log")
    with pytest.raises(NotADirectoryError):
        make_private_folder(tmp_path / "a" / "log" / "inside")


def test_what_cannot_be_written_leaves_what_was_there(path: Path) -> None:
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(OSError, match=r"note\.json"):
        write_whole(path, "new", durable=True)
    assert [each.name for each in path.parent.iterdir()] == ["note.json"]
    assert (path / "old").exists()


def test_of_two_who_make_a_file_at_the_same_time_one_does(path: Path) -> None:
    write_whole(path, "first", durable=True, replace=False)
    with pytest.raises(FileExistsError):
        write_whole(path, "second", durable=True, replace=False)
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_a_record_comes_back_as_it_was_with_or_without_a_byte_order_mark(path: Path) -> None:
    assert read_record(path, Note, 1000) is None
    note = Note("größe", 3, ("a", "b"))
    write_record(path, note, durable=False)
    assert read_record(path, Note, 1000) == note
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_record(path, Note, 1000) == note


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\0\0\0\0", "is empty"),
        (b'{"name": "a", "cou', "is not JSON"),
        (b"\xff\x00\x91", "is not a text in UTF-8"),
        (b"[1, 2]", "holds something else than it should"),
        (b"null", "holds nothing but null"),
        (b"9" * 900, "holds something else than it should"),
        (b"[" * 3000, "has more than 2000 bytes"),
        (b"[" * 1900, "is not JSON|is nested too deep"),
        (b'{"name": "a"}', "lacks 'count'"),
        (b'{"name": "a", "count": "3"}', "is no int"),
        (b'{"name": "a", "count": true}', "is no int"),
        (b'{"name": "a", "count": 1e999}', "is no int"),
        (b'{"name": "a", "count": 99999999999999999999}', "is too large"),
        (b'{"name": "\\ud800", "count": 1}', "surrogates not allowed"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    with pytest.raises(FileProblem, match=f"^{path} .*({reason})"):
        read_record(path, Note, 2000)


def test_what_is_no_file_is_not_waited_for(path: Path) -> None:
    path.mkdir()
    with pytest.raises(FileProblem, match="is a directory"):
        read_text(path, 10)
    os.mkfifo(path.with_name("pipe"))
    with pytest.raises(FileProblem, match="is not a regular file"):
        read_bytes(path.with_name("pipe"), 10)
    with pytest.raises(FileProblem, match="cannot be read: embedded null byte"):
        read_bytes(Path("a\0b"), 10)
    path.with_name("loop").symlink_to("loop")
    with pytest.raises(FileProblem, match="cannot be read: Too many levels"):
        read_bytes(path.with_name("loop"), 10)


def test_a_damaged_file_is_put_aside_once_more_and_with_a_warning_that_names_it(path: Path) -> None:
    with capture_logs() as logs:
        for content in ("first", "second"):
            path.write_text(content)
            put_aside(FileProblem(path, "is broken"), "nothing is known")
        path.mkdir()
        put_aside(FileProblem(path, "is a directory"), "nothing is known")
        put_aside(FileProblem(path, "is gone meanwhile"), "nothing is known")
    assert not path.exists()
    assert path.with_name("note.json.damaged").read_text() == "second"
    assert [(each["log_level"], each["path"], each["meaning"]) for each in logs] == [
        ("warning", str(path), "nothing is known")
    ] * 3
    assert len(list(path.parent.iterdir())) == 2


def test_only_files_are_opened(tmp_path: Path) -> None:
    file, fifo, listener = tmp_path / "file", tmp_path / "fifo", tmp_path / "socket"
    file.write_bytes(b"content")
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(fifo)
    for path in (file, tmp_path / "link"):
        with open_regular(path) as opened:
            assert opened.read() == b"content"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(listener))
        for path, kind in ((fifo, "FIFO"), (listener, "socket"), (Path("/dev/null"), "device")):
            with pytest.raises(OSError, match=f"it is a {kind}, not a file"):
                open_regular(path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
