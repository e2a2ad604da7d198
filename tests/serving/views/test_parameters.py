"""Questions read from the query of a URL."""

from __future__ import annotations

import pytest

from sllm_actors.api_error import ApiError
from sllm_actors.serving.views.messages import DescribeDeployments, DescribeInstances, DescribeNodes
from sllm_actors.serving.views.parameters import read_question


def test_each_parameter_is_an_attribute_of_the_question() -> None:
    assert read_question(DescribeNodes, []) == DescribeNodes()
    query = [("limit", "10"), ("state", "failed"), ("node", "w 1"), ("cursor", "abc")]
    assert read_question(DescribeInstances, query) == DescribeInstances(10, "abc", "", "w 1", "failed")


@pytest.mark.parametrize(
    ("query", "param", "sentence"),
    [
        (
            [("stat", "failed")],
            "stat",
            "there is no parameter 'stat' here: there are limit, cursor, state, model, backend, node",
        ),
        ([("state", "a"), ("state", "b")], "state", "state is given twice: give it once"),
        ([("limit", "many")], "limit", "limit must be a number from 1 to 1000, not 'many'"),
        ([("limit", "-1")], "limit", "limit must be a number from 1 to 1000, not '-1'"),
        ([("limit", "²")], "limit", "limit must be a number from 1 to 1000, not '²'"),
        ([("limit", "")], "limit", "limit must be a number from 1 to 1000, not ''"),
        ([("limit", "9" * 50)], "limit", f"limit must be a number from 1 to 1000, not '{'9' * 40}'"),
    ],
)
def test_what_is_wrong_with_a_query_is_one_sentence(
    query: list[tuple[str, str]], param: str, sentence: str
) -> None:
    with pytest.raises(ApiError) as refused:
        read_question(DescribeDeployments, query)
    assert (refused.value.status, refused.value.param, refused.value.message) == (400, param, sentence)
