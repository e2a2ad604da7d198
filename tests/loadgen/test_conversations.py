"""Files of ShareGPT's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sllm_actors.loadgen.conversations import Conversations, read_conversations
from sllm_actors.loadgen.problem import LoadProblem


def written(folder: Path, content: Any) -> Path:
    path = folder / "share.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_what_people_said_is_kept(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        [
            {
                "id": "a",
                "conversations": [
                    {"from": "human", "value": "Hi"},
                    {"from": "gpt", "value": "Hello"},
                    {"from": "user", "value": "Again"},
                    {"from": "human", "value": " "},
                    {"from": "human", "value": 3},
                ],
            },
            {"id": "b", "conversations": [{"from": "gpt", "value": "alone"}]},
        ],
    )
    assert read_conversations(path) == Conversations([["Hi", "Again"]])


def test_of_a_file_that_is_cut_short_the_whole_conversations_are_kept(tmp_path: Path) -> None:
    whole = json.dumps([{"conversations": [{"from": "human", "value": f"é{n}"}]} for n in range(3)], indent=1)
    first_ends, second_ends = (whole.index(f"\\u00e9{n}") for n in (1, 2))
    for end in (second_ends, second_ends + 3, len(whole) - 8):
        found = read_conversations(written(tmp_path, whole[:end]))
        assert found == Conversations([["é0"], ["é1"]], cut_short=True)
    path = written(tmp_path, whole[:first_ends].replace("[", "[3,", 1))
    with pytest.raises(LoadProblem, match="is no file of ShareGPT's format: Expected `object`, got `int`"):
        read_conversations(path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[",
        '[{"conversations": [{"from": "human",',
        "{}",
        "[1]",
        '[{"conversations": 3}]',
        "[]",
        '[{"conversations": []}]',
    ],
)
def test_what_is_no_such_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(
        LoadProblem, match=r"is no file of ShareGPT's format|in which a person says"
    ) as problem:
        read_conversations(path)
    assert str(problem.value).startswith(str(path))


def test_a_file_that_is_away_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadProblem, match="cannot be read: No such file"):
        read_conversations(tmp_path / "nothing")
