"""Files of ShareGPT's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sllm_actors.loadgen.conversations import read_conversations
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
    assert read_conversations(path) == [["Hi", "Again"]]


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '[{"conversations": 3}]', "[]", '[{"conversations": []}]']
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
