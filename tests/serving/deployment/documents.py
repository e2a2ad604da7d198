"""Reading documents of which only some keys matter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sllm_actors.serving.deployment.document import read_document
from sllm_actors.serving.deployment.problem import DeploymentProblem
from sllm_actors.serving.deployment.spec import DeploymentSpec


def read(**document: Any) -> DeploymentSpec:
    spec, warnings = read_document(json.dumps({"model": "m", **document}))
    assert warnings == []
    return spec


def problem_of(text: str) -> DeploymentProblem:
    with pytest.raises(DeploymentProblem) as raised:
        read_document(text)
    assert "\n" not in str(raised.value)
    return raised.value


def problem(**document: Any) -> tuple[str | None, str]:
    found = problem_of(json.dumps({"model": "m", **document}))
    return found.param, str(found)
