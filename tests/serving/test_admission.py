"""Whether a document becomes a deployment: by itself, by what there is, by what workers say."""

from __future__ import annotations

import json

import pytest

from sllm_actors.actors import Incarnation
from sllm_actors.serving.admission import AdmissionVerdict, Proposal, propose
from sllm_actors.serving.deployment.document import MAX_DOCUMENT, write_document
from sllm_actors.serving.inspection import WorkerLife
from sllm_actors.serving.messages import Done, Refusal

from .kit import deployment, spec

DOCUMENT = '{"model": "m", "backend": "llamacpp"}'
LIVES = [WorkerLife(node, Incarnation(1, 1)) for node in ("w1", "w2")]


def refused(document: str, code: str, *, outcome: str, deployed: bool = False, admitting: str = "") -> str:
    known = {"m:llamacpp": deployment()} if deployed else {}
    said = propose(document, known, {admitting})
    assert isinstance(said, Refusal)
    assert (said.kind, said.code) == (outcome, code)
    return said.message


def test_a_document_that_makes_sense_is_proposed_with_what_its_author_should_see() -> None:
    made = propose('{"model": "m", "backend": "llamacpp", "auto_scaling_config": {"target": 3}}', {}, ())
    assert isinstance(made, Proposal)
    assert made.spec.id == "m:llamacpp"


@pytest.mark.parametrize("document", ["", "[]", "{", '{"model": 7}', '{"modle": "m"}'])
def test_one_that_makes_none_is_refused_with_a_sentence(document: str) -> None:
    assert refused(document, "invalid_deployment", outcome="invalid")


def test_a_document_that_is_too_long_is_not_read() -> None:
    assert str(MAX_DOCUMENT) in refused("x" * (MAX_DOCUMENT + 1), "too_large", outcome="too_large")


def test_what_is_there_already_is_no_mistake_and_other_settings_are() -> None:
    known = deployment()
    same = propose(json.dumps(write_document(known.spec)), {known.spec.id: known}, ())
    assert isinstance(same, Done)
    assert json.loads(same.document)["created"] is False
    other = json.dumps({"model": "m", "backend": "llamacpp", "num_gpus": 3})
    assert "other settings" in refused(other, "deployment_exists", outcome="conflict", deployed=True)


def test_what_is_being_decided_already_has_to_wait() -> None:
    assert refused(DOCUMENT, "deployment_exists", outcome="conflict", admitting="m:llamacpp")


@pytest.mark.parametrize(
    ("answers", "refusal"),
    [
        (["", ""], ""),
        (["no room", ""], ""),
        (["no room"], ""),  # the other one has not answered
        (["no such file", "no room"], "no room; no such file"),
        (["no such setting", "no such setting"], "no such setting"),
        ([], ""),
    ],
)
def test_a_proposal_is_refused_only_by_every_worker(answers: list[str], refusal: str) -> None:
    verdict = AdmissionVerdict(Proposal(spec(), []), 2, dict(zip(LIVES, answers, strict=False)))
    assert verdict.refused == refusal


def test_a_refused_setting_is_called_as_it_was_typed() -> None:
    proposal = propose('{"model": "m", "backend": "vllm", "backend_config": {"torch_dtype": "x"}}', {}, ())
    assert isinstance(proposal, Proposal)
    verdict = AdmissionVerdict(proposal, 1, {LIVES[0]: "dtype must be auto or half, not 'x'"})
    assert verdict.refused == "torch_dtype must be auto or half, not 'x'"


def test_of_many_workers_that_refuse_a_few_say_why() -> None:
    lives = [WorkerLife(f"w{number}", Incarnation(1, 1)) for number in range(9)]
    answers = {life: f"/m does not exist on worker {life.node}" for life in lives}
    refusal = AdmissionVerdict(Proposal(spec(), []), 9, answers).refused
    assert refusal.split("; ")[1:] == [
        "/m does not exist on worker w1",
        "/m does not exist on worker w2",
        "and 6 more workers refuse",
    ]
