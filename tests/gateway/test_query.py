"""Parameters that nobody would read are refused where something would be changed."""

from __future__ import annotations

import pytest

from sllm_actors.gateway.api.query import parameters_of

from .kit import PlayedCluster

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]


@pytest.mark.parametrize(
    ("method", "path", "param", "sentence"),
    [
        (
            "POST",
            "/deployments/m:vllm/unload?forse=true",
            "forse",
            "there is no parameter 'forse' here: there are force",
        ),
        (
            "POST",
            "/deployments/m:vllm/load?force=true",
            "force",
            "there is no parameter 'force' here: there is none",
        ),
        ("POST", "/deployments?update=true&update=false", "update", "update is given twice: give it once"),
        (
            "POST",
            "/instances/m:vllm@1.0/sleep?level=2",
            "level",
            "there is no parameter 'level' here: there is none",
        ),
        ("PATCH", "/deployments/m:vllm?x=1", "x", "there is no parameter 'x' here: there are allow_downtime"),
        (
            "DELETE",
            "/deployments/m:vllm?force=true",
            "force",
            "there is no parameter 'force' here: there is none",
        ),
    ],
)
async def test_a_parameter_that_means_nothing_is_refused_before_anything_happens(
    cluster: PlayedCluster, method: str, path: str, param: str, sentence: str
) -> None:
    answer = await cluster.http().request(method, path)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_parameter")
    assert (error["param"], error["message"]) == (param, sentence)


async def test_what_only_reads_and_what_is_not_there_is_answered_as_ever(cluster: PlayedCluster) -> None:
    http = cluster.http()
    assert (await http.get("/health?x=1")).status_code == 200
    assert (await http.post("/nowhere?x=1")).json()["error"]["code"] == "unknown_url"


@pytest.mark.parametrize(
    ("rule", "method", "known"),
    [
        ("/deployments", "POST", ("update", "allow_downtime")),
        ("/deployments/<deployment:name>/unload", "POST", ("force",)),
        ("/deployments/<deployment:name>/load", "POST", ()),
        ("/nowhere", "POST", ()),
        ("/health", "DELETE", ()),
    ],
)
def test_the_parameters_of_a_request_are_those_of_the_document(
    rule: str, method: str, known: tuple[str, ...]
) -> None:
    assert parameters_of(rule, method) == known
