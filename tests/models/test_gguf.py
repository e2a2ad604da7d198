"""GGUF sources: which file is meant, what is whole, and which sentence names what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from sllm_actors.models.errors import SourceProblem
from sllm_actors.models.gguf import read_gguf

HEADER = b"GGUF" + bytes(20)


def problem(source: str | Path) -> str:
    with pytest.raises(SourceProblem) as caught:
        read_gguf(str(source))
    return str(caught.value)


def make(folder: Path, *names: str, content: bytes = HEADER) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return [folder / name for name in names]


def shards(folder: Path, *numbers: int, stem: str = "m", count: int = 3) -> list[Path]:
    return make(folder, *(f"{stem}-{number:05}-of-{count:05}.gguf" for number in numbers))


def test_the_demo_model_is_found_without_importing_its_package() -> None:
    assert read_gguf("demo:smollm2-135m").file.name == "SmolLM2-135M-Instruct.Q4_1.gguf"


def test_a_path_is_a_file_or_a_folder_with_one_model(tmp_path: Path) -> None:
    assert problem(tmp_path) == f"{tmp_path} on this worker has no GGUF file"
    (file,) = make(tmp_path, "a.gguf")
    assert read_gguf(str(file)) == read_gguf(str(tmp_path))
    assert (read_gguf(str(file)).file, read_gguf(str(file)).size) == (file, 24)
    make(tmp_path, "mmproj-a.gguf")  # goes with a model, and is none
    assert read_gguf(str(tmp_path)).file == file


def test_several_models_of_a_folder_are_listed(tmp_path: Path) -> None:
    make(tmp_path, "b.gguf", "a.gguf")
    shards(tmp_path, 2)
    assert problem(tmp_path) == (
        f"{tmp_path} on this worker has 3 models: give the path of one of them"
        " (a.gguf, b.gguf, m-00001-of-00003.gguf)"
    )
    make(tmp_path, *(f"c{number}.gguf" for number in range(9)))
    assert problem(tmp_path).endswith(
        "(a.gguf, b.gguf, c0.gguf, c1.gguf, c2.gguf, c3.gguf, c4.gguf, c5.gguf, …)"
    )


def test_models_one_folder_below_are_pointed_at(tmp_path: Path) -> None:
    make(tmp_path, "q8/a.gguf", "q4/a.gguf", "q4/b.gguf")
    assert (
        problem(tmp_path) == f"{tmp_path} on this worker has no GGUF file: give one of its folders (q4, q8)"
    )


def test_a_whole_set_of_files_is_one_model_by_its_first_file_or_its_folder(tmp_path: Path) -> None:
    first, *_ = shards(tmp_path, 1, 2, 3)
    for source in (first, tmp_path):
        assert read_gguf(str(source)).file == first
        assert read_gguf(str(source)).size == 72


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ([1, 3], "m-00002-of-00003.gguf is missing"),
        ([1], "m-00002-of-00003.gguf is missing, and 1 more"),
        ([2, 3], "m-00001-of-00003.gguf is missing"),
    ],
)
def test_a_set_that_is_not_whole_names_what_is_missing(
    tmp_path: Path, there: list[int], missing: str
) -> None:
    files = shards(tmp_path, *there)
    assert problem(tmp_path) == f"{tmp_path} on this worker is not whole: {missing}"
    if there[0] == 1:
        assert problem(files[0]) == problem(tmp_path)


def test_a_later_file_of_a_set_names_the_first(tmp_path: Path) -> None:
    first, second, _ = shards(tmp_path, 1, 2, 3)
    assert problem(second) == f"{second} is file 2 of 3: give the path of the first, {first}"


def test_every_file_of_a_set_is_looked_at(tmp_path: Path) -> None:
    first, second, third = shards(tmp_path, 1, 2, 3)
    third.write_text("<html>")
    assert problem(first) == f"{third} on this worker is not a GGUF file"
    third.unlink()
    third.symlink_to(tmp_path / "blob")
    assert problem(first) == f"{third} on this worker is a link to {tmp_path}/blob, which does not exist"
    second.write_bytes(HEADER)


def test_links_to_files_with_other_names_are_followed(tmp_path: Path) -> None:
    """A hub's cache is made so."""
    blobs = make(tmp_path, *(f"blobs/{digest * 8}" for digest in "abc"))
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for number, blob in enumerate(blobs, 1):
        (snapshot / f"m-{number:05}-of-00003.gguf").symlink_to(Path("..") / "blobs" / blob.name)
    assert read_gguf(str(snapshot)).file == snapshot / "m-00001-of-00003.gguf"
    assert read_gguf(str(snapshot)).size == 72


@pytest.mark.parametrize("name", ["m-1-of-3.gguf", "m-00000-of-00003.gguf", "m-00004-of-00003.gguf"])
def test_what_only_looks_like_one_of_several_is_a_file_of_its_own(tmp_path: Path, name: str) -> None:
    (file,) = make(tmp_path, name)
    assert read_gguf(str(tmp_path)).file == file


@pytest.mark.parametrize(
    ("content", "more"),
    [(b"", ""), (b"<html>", ""), (b"GGUF\x03", ": it ends within its header")],
)
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, content: bytes, more: str) -> None:
    (file,) = make(tmp_path, "a.gguf", content=content)
    assert problem(file) == f"{file} on this worker is not a GGUF file{more}"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("/nowhere/a.gguf", "/nowhere/a.gguf does not exist on this worker"),
        ("/nowhere/m-00001-of-00002.gguf", "/nowhere/m-00001-of-00002.gguf does not exist on this worker"),
        ("a.gguf", "a.gguf is not an absolute path: give the whole path of a GGUF file on the worker"),
        ("/dev/null/a.gguf", "/dev/null/a.gguf on this worker cannot be read: Not a directory"),
    ],
)
def test_other_sources_are_refused_with_a_remedy(source: str, sentence: str) -> None:
    assert problem(source) == sentence
