"""Documents that were accepted before are read, though today they would be refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sllm_actors.serving.deployment.document import read_document, read_kept_document
from sllm_actors.serving.deployment.problem import DeploymentProblem


def test_what_means_nothing_of_external_servers_and_an_older_version_took_is_left_out() -> None:
    document = {"model": "m", "backend": "external", "endpoints": ["http://127.0.0.1:1"]}
    old = document | {"auto_scaling_config": {"min_instances": 2, "max_instances": 4}, "pinned": True}
    old |= {"priority": 3, "preload": True}
    with pytest.raises(DeploymentProblem, match="min_instances means nothing to the external backend"):
        read_document(json.dumps(old))
    assert read_kept_document(json.dumps(old)) == read_kept_document(json.dumps(document))


@pytest.mark.parametrize(
    "document",
    [
        {"model": "m", "backend": "?"},
        {"model": "m", "backend": "external"},
        {"model": "m", "backend": "external", "auto_scaling_config": {"min_instances": 1}},
    ],
)
def test_a_kept_document_that_is_wrong_in_another_way_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(DeploymentProblem):
        read_kept_document(json.dumps(document))
