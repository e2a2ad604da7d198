"""What can never start, and says so before anybody tries."""

from __future__ import annotations

import pytest
from attrs import evolve
from tests.engines.kit import report_of, start

from sllm_actors.engines.backends.registry import inspect_source
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import InspectSource, ReplicaOrder, ReplicaState
from sllm_actors.testing import TestSystem

pytestmark = pytest.mark.anyio

NOWHERE = "/nowhere/model.gguf"
ORDER = ReplicaOrder(ReplicaKey("m:llamacpp", 1, 1), "m", "llamacpp", "demo:smollm2-135m")


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (
            evolve(ORDER, backend="llamacp"),
            (
                "there is no backend 'llamacp', only command, external, llamacpp, sglang, vllm; "
                "did you mean llamacpp?"
            ),
        ),
        (
            evolve(ORDER, settings={"max_model_length": 1}),
            "the llamacpp backend has no setting 'max_model_length'; did you mean max_model_len?",
        ),
        (evolve(ORDER, source="/nowhere/model.gguf"), "/nowhere/model.gguf does not exist on this worker"),
    ],
)
async def test_what_cannot_be_started_fails_with_one_sentence(
    host: EngineHost, order: ReplicaOrder, reason: str
) -> None:
    async with TestSystem() as system:
        _, probe = await start(system, order, host)
        assert (await report_of(probe, ReplicaState.FAILED)).reason == reason


def test_what_a_worker_says_of_a_source_names_it(host: EngineHost) -> None:
    named = evolve(host, name="alpha")
    asked = InspectSource("llamacpp", NOWHERE)
    assert inspect_source(asked, named).problem == f"{NOWHERE} does not exist on worker alpha"
    assert inspect_source(asked, host).problem == f"{NOWHERE} does not exist on this worker"
    refused = inspect_source(InspectSource("command", "x", {"command": ["/bin/serve", "$PORT"]}), named)
    assert refused.problem == "worker alpha runs no commands: start it with --allow-command if it should"


async def test_what_a_worker_says_of_a_replica_names_it(host: EngineHost) -> None:
    async with TestSystem() as system:
        _, probe = await start(system, evolve(ORDER, source=NOWHERE), evolve(host, name="alpha"))
        failed = await report_of(probe, ReplicaState.FAILED)
        assert failed.reason == f"{NOWHERE} does not exist on worker alpha"
