"""Keys of external servers: read where they are used, and never repeated."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sllm_actors.engines.external import KeyProblem, Keys, ServerAccess, keys, read_key

pytestmark = pytest.mark.anyio


def test_a_key_comes_from_a_variable_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\ufeffsk-file\n")
    assert read_key(ServerAccess(), environment={}) == ""
    assert read_key(ServerAccess(key_env="UP"), environment={"UP": " sk-env\n"}) == "sk-env"
    assert read_key(ServerAccess(key_file=str(tmp_path / "key")), environment={}) == "sk-file"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "the environment variable UP, which api_key_env names, is not set on that worker"),
        (" ", "the environment variable UP, which api_key_env names, is not set on that worker"),
        ("two words", "the environment variable UP does not hold a key"),
        ("schlüssel", "the environment variable UP does not hold a key"),
        ("a\r\nb: c", "the environment variable UP does not hold a key"),
    ],
)
def test_a_variable_that_holds_no_key_is_named_and_not_repeated(value: str | None, sentence: str) -> None:
    with pytest.raises(KeyProblem, match=sentence) as found:
        read_key(ServerAccess(key_env="UP"), "that worker", {} if value is None else {"UP": value})
    assert value is None or not value.strip() or value not in str(found.value)


def test_a_file_that_holds_no_key_is_named(tmp_path: Path) -> None:
    large, pipe = tmp_path / "large", tmp_path / "pipe"
    large.write_text("x" * 9000)
    os.mkfifo(pipe)
    for path, why in (
        (tmp_path / "none", "cannot be read on this worker: No such file"),
        (tmp_path, "cannot be read on this worker: Is a directory"),
        (large, "has more than 8192 bytes"),
        (pipe, "is not a file"),
    ):
        with pytest.raises(KeyProblem, match=f"the file {path}, which api_key_file names, {why}"):
            read_key(ServerAccess(key_file=str(path)))


async def test_a_file_that_is_written_anew_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.write_text("one")
    known, access = Keys("this worker"), ServerAccess(key_file=str(path))
    assert await known.of(ServerAccess()) == ""
    assert await known.of(access) == "one"
    path.write_text("two")
    assert await known.of(access) == "one"
    monkeypatch.setattr(keys, "FRESH_SECONDS", -1.0)
    assert await known.of(access) == "two"
    path.unlink()
    with pytest.raises(KeyProblem, match="cannot be read on this worker"):
        await known.of(access)
    assert "two" not in repr(known)
