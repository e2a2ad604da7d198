"""Whole traces, read from files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sllm_actors.loadgen.problem import LoadProblem
from sllm_actors.loadgen.traces import reading
from sllm_actors.loadgen.traces.reading import read_trace

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
LINES = [f"2023-11-16 18:00:{second:02}.0,{second + 1},9\n" for second in (0, 2, 1, 30)]


def trace(folder: Path, text: str | bytes, name: str = "trace") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_times_count_from_the_beginning_in_order(tmp_path: Path) -> None:
    path = trace(tmp_path, AZURE + "".join(LINES) + "\n")
    assert [(each.at, each.input_tokens) for each in read_trace(path, begin=0, end=None, seed=0)] == [
        (0.0, 1),
        (1.0, 2),
        (2.0, 3),
        (30.0, 31),
    ]
    assert [each.at for each in read_trace(path, begin=1, end=10, seed=0)] == [0.0, 1.0]


def test_objects_are_told_apart_by_their_first_line(tmp_path: Path) -> None:
    lines = [
        json.dumps({"timestamp": at, "input_length": 3, "output_length": 4, "hash_ids": []})
        for at in (1000, 1500)
    ]
    found = list(read_trace(trace(tmp_path, "\n".join(lines)), begin=0, end=None, seed=0))
    assert [each.at for each in found] == [0.0, 0.5]


def test_each_client_of_servegen_is_one_model(tmp_path: Path) -> None:
    for number in (0, 10, 2):
        trace(tmp_path, "0,0,0,,0,0\n600,1,1,Gamma,1,1\n", f"client-{number}.csv")
    found = list(read_trace(tmp_path, begin=600, end=700, seed=1))
    assert {each.model for each in found} == {"client-0", "client-2", "client-10"}
    assert [each.at for each in found] == sorted(each.at for each in found)
    assert all(0 <= each.at < 100 and each.input_tokens is None for each in found)
    assert found == list(read_trace(tmp_path, begin=600, end=700, seed=1))
    alone = list(read_trace(tmp_path / "client-2.csv", begin=600, end=700, seed=1))
    assert [each.at for each in alone] == [each.at for each in found if each.model == "client-2"]
    assert list(read_trace(tmp_path / "client-2.csv", begin=600, end=None, seed=1))[: len(alone)] == alone


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1: it begins like none of the traces that are known: Azure"),
        ("a,b\n1,2\n", "line 1: it begins like none of the traces"),
        (AZURE + LINES[0] + "\n" + "nonsense\n", "line 4: it should have 3 fields, not 1"),
        (AZURE + LINES[0] + 'x,"1', "line 3: it should have 3 fields"),
        (
            '{"timestamp": 1, "input_length": 1, "output_length": 1}\n{"timestamp"',
            "line 2: it is no object of JSON",
        ),
        ("0,1,1,Gamma,1,1\n600,1,1,Gamma\n", "line 2: it should have 6 fields, not 4"),
        (AZURE.encode() + b"\xff\n", "line 1: it is no text in UTF-8"),
    ],
)
def test_a_broken_line_is_named_by_its_number(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    path = trace(tmp_path, text)
    with pytest.raises(LoadProblem) as problem:
        list(read_trace(path, begin=0, end=None, seed=0))
    assert str(problem.value).startswith(f"{path}, {sentence}")


def test_a_trace_without_requests_is_refused(tmp_path: Path) -> None:
    for path in (trace(tmp_path, AZURE), trace(tmp_path, "0,0,0,,0,0\n", "client-1.csv")):
        with pytest.raises(LoadProblem, match="has no request in that time"):
            read_trace(path, begin=0, end=None, seed=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LoadProblem, match=r"no file client-N\.csv"):
        read_trace(tmp_path / "empty", begin=0, end=None, seed=0)
    with pytest.raises(LoadProblem, match="cannot be read: No such file"):
        read_trace(tmp_path / "nothing", begin=0, end=None, seed=0)


def test_what_is_too_much_for_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_ROWS", 2)
    path = trace(tmp_path, AZURE + "".join(LINES))
    with pytest.raises(LoadProblem, match="more than 2 requests"):
        read_trace(path, begin=0, end=None, seed=0)
    monkeypatch.setattr(reading, "LONGEST_LINE", 50)
    with pytest.raises(LoadProblem, match="line 2: it is longer than any line"):
        read_trace(trace(tmp_path, AZURE + "9" * 60), begin=0, end=None, seed=0)
