"""Whether a document becomes a deployment or an update: by itself, by what there is, by what workers say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.serving.picture.world import World

from sllm_actors.serving.admission import Inspection, Proposal, admit, propose, propose_update
from sllm_actors.serving.control import Change
from sllm_actors.serving.deployment.document import MAX_DOCUMENT, write_document
from sllm_actors.serving.messages import Deploy, Done, Gpu, Inventory, Refusal, UpdateDeployment
from sllm_actors.serving.picture.events import DeploymentAdded, PolicyChanged, RevisionAdded
from sllm_actors.serving.picture.room.fitting import room_for_model

DOCUMENT = '{"model": "m", "backend": "command", "backend_config": {"command": ["run"]}}'
OTHER = '{"model": "m", "backend": "command", "backend_config": {"command": ["other"]}}'
FINE = Inspection(everybody=True, asked=1, said={"w1": ""})


def world(*, deployed: bool = True) -> World:
    made = World()
    made.worker("w1")
    if deployed:
        made.deploy("m")
    return made


def refused(said: Any, code: str, *, outcome: str) -> str:
    assert isinstance(said, Refusal)
    assert (said.kind, said.code) == (outcome, code)
    return said.message


def warnings_of(said: Any) -> list[str]:
    assert isinstance(said, Change)
    assert isinstance(said.answer, Done)
    return list(json.loads(said.answer.document)["warnings"])


def test_a_document_that_makes_sense_is_proposed() -> None:
    made = propose(world(deployed=False).picture, Deploy(DOCUMENT))
    assert isinstance(made, Proposal)
    assert (made.spec.id, made.update, made.new_engine) == ("m:command", False, True)


@pytest.mark.parametrize("document", ["", "[]", "{", '{"model": 7}', '{"modle": "m"}'])
def test_one_that_makes_none_is_refused_with_a_sentence(document: str) -> None:
    assert refused(propose(world().picture, Deploy(document)), "invalid_deployment", outcome="invalid")


def test_what_is_too_long_is_not_read() -> None:
    text = "x" * (MAX_DOCUMENT + 1)
    for said in (
        propose(world().picture, Deploy(text)),
        propose_update(world().picture, UpdateDeployment("m:command", text)),
    ):
        assert str(MAX_DOCUMENT) in refused(said, "too_large", outcome="too_large")


def test_what_is_there_already_is_no_mistake_and_other_settings_are() -> None:
    here = world()
    document = json.dumps(write_document(here.picture.catalogue.by_id["m:command"].spec))
    same = propose(here.picture, Deploy(document))
    assert isinstance(same, Done)
    assert json.loads(same.document)["created"] is False
    said = refused(propose(here.picture, Deploy(OTHER)), "deployment_exists", outcome="conflict")
    assert "backend_config.command differs" in said


def test_with_update_other_settings_are_a_proposal() -> None:
    made = propose(world().picture, Deploy(OTHER, update=True, allow_downtime=True))
    assert isinstance(made, Proposal)
    assert (made.update, made.allow_downtime, made.new_engine) == (True, True, True)


def test_a_patch_of_the_policy_asks_no_worker() -> None:
    made = propose_update(world().picture, UpdateDeployment("m:command", '{"hold_limit": 3}'))
    assert isinstance(made, Proposal)
    assert (made.spec.hold_limit, made.new_engine) == (3, False)


def test_a_patch_of_nothing_or_of_nonsense_is_refused() -> None:
    here = world()
    unknown = propose_update(here.picture, UpdateDeployment("x:command", "{}"))
    assert "x:command" in refused(unknown, "deployment_not_found", outcome="unknown")
    wrong = propose_update(here.picture, UpdateDeployment("m:command", '{"hold_limt": 3}'))
    assert "hold_limit" in refused(wrong, "invalid_deployment", outcome="invalid")


def test_what_is_being_deleted_is_neither_deployed_nor_changed() -> None:
    here = world()
    here.ready()
    deployment = here.picture.catalogue.by_id["m:command"]
    deployment.deleting = True
    assert refused(propose(here.picture, Deploy(DOCUMENT)), "deployment_deleting", outcome="conflict")
    patch = UpdateDeployment("m:command", "{}")
    assert refused(propose_update(here.picture, patch), "deployment_deleting", outcome="conflict")


def test_an_admitted_document_is_a_new_deployment_of_its_own() -> None:
    here = world(deployed=False)
    made = propose(here.picture, Deploy(DOCUMENT))
    assert isinstance(made, Proposal)
    change = admit(here.picture, made, FINE, uid="u", wall=5.0)
    assert isinstance(change, Change)
    (event,) = change.events
    assert isinstance(event, DeploymentAdded)
    assert (event.record.uid, event.record.created, event.revision.revision) == ("u", 5.0, 1)


def test_an_admitted_update_is_a_revision_and_a_policy_is_none() -> None:
    here = world()
    for patch, kinds in (
        ('{"backend_config": {"command": ["other"]}, "hold_limit": 3}', [PolicyChanged, RevisionAdded]),
        ('{"hold_limit": 3}', [PolicyChanged]),
    ):
        made = propose_update(here.picture, UpdateDeployment("m:command", patch))
        assert isinstance(made, Proposal)
        change = admit(here.picture, made, FINE, uid="u", wall=5.0)
        assert isinstance(change, Change)
        assert [type(each) for each in change.events] == kinds


def with_aliases(model: str, *aliases: str) -> str:
    command = {"command": ["run"]}
    return json.dumps(
        {"model": model, "backend": "command", "backend_config": command, "aliases": list(aliases)}
    )


@pytest.mark.parametrize(
    ("model", "aliases", "taken", "owner"),
    [
        ("other", ["gpt"], "gpt", "m:command"),
        ("other", ["free", "m"], "m", "m:command"),
        ("other", ["m:command"], "m:command", "m:command"),
        ("gpt", [], "gpt", "m:command"),
        ("n:llm", ["x"], "", ""),
        ("other", ["free"], "", ""),
    ],
)
def test_a_name_that_another_deployment_goes_by_is_refused(
    model: str, aliases: list[str], taken: str, owner: str
) -> None:
    here = world(deployed=False)
    here.deploy("m", aliases=["gpt"])
    made = propose(here.picture, Deploy(with_aliases(model, *aliases)))
    if taken:
        sentence = refused(made, "name_taken", outcome="conflict")
        assert sentence.startswith(f"{taken} is a name of {owner}: ")
    else:
        assert isinstance(made, Proposal)


def test_a_model_of_several_backends_has_its_name_as_long_as_one_is_left() -> None:
    here = world(deployed=False)
    one = here.deploy("m")
    here.deploy("m", backend="llamacpp", backend_config={})
    here.picture.catalogue.remove(one, 5.0)
    sentence = refused(
        propose(here.picture, Deploy(with_aliases("other", "m"))), "name_taken", outcome="conflict"
    )
    assert sentence.startswith("m is a name of m:llamacpp")


def test_an_alias_is_free_again_when_its_deployment_has_another_or_is_gone() -> None:
    here = world(deployed=False)
    owner = here.deploy("m", aliases=["gpt"])
    wanted = Deploy(with_aliases("other", "gpt"))
    assert not isinstance(propose(here.picture, wanted), Proposal)
    here.update(owner, aliases=["newer"])
    made = propose(here.picture, wanted)
    assert isinstance(made, Proposal)
    here.update(owner, aliases=["gpt"])
    said = admit(here.picture, made, FINE, uid="u", wall=5.0)
    assert refused(said, "name_taken", outcome="conflict"), "it was taken while workers were asked"
    own = propose_update(here.picture, UpdateDeployment("m:command", '{"aliases": ["gpt", "more"]}'))
    assert isinstance(own, Proposal)
    here.picture.catalogue.remove(owner, 5.0)
    assert isinstance(propose(here.picture, wanted), Proposal)


def test_a_deployment_that_went_while_workers_were_asked_is_not_updated() -> None:
    made = propose(world().picture, Deploy(OTHER, update=True))
    assert isinstance(made, Proposal)
    said = admit(world(deployed=False).picture, made, FINE, uid="u", wall=5.0)
    assert refused(said, "deployment_not_found", outcome="unknown")


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
def test_a_proposal_is_refused_only_by_all_that_were_asked(answers: list[str], refusal: str) -> None:
    said = dict(zip(("w1", "w2"), answers, strict=False))
    assert Inspection(everybody=True, asked=2, said=said).refused == refusal


def test_a_refused_setting_is_called_as_it_was_typed() -> None:
    document = '{"model": "m", "backend": "vllm", "backend_config": {"torch_dtype": "x"}}'
    proposal = propose(world(deployed=False).picture, Deploy(document))
    assert isinstance(proposal, Proposal)
    said = {"w1": "dtype must be auto or half, not 'x'"}
    inspection = Inspection(everybody=True, asked=1, said=said, typed=proposal.typed)
    assert inspection.refused == "torch_dtype must be auto or half, not 'x'"


def test_of_many_workers_that_refuse_a_few_say_why() -> None:
    said = {f"w{number}": f"/m does not exist on worker w{number}" for number in range(9)}
    refusal = Inspection(everybody=True, asked=9, said=said).refused
    assert refusal.split("; ")[1:] == [
        "/m does not exist on worker w1",
        "/m does not exist on worker w2",
        "and 6 more workers refuse",
    ]


def test_a_refusal_of_all_refuses_and_one_of_a_few_warns() -> None:
    here = world(deployed=False)
    made = propose(here.picture, Deploy(DOCUMENT))
    assert isinstance(made, Proposal)
    everybody = Inspection(everybody=True, asked=1, said={"w1": "no such file"})
    said = refused(
        admit(here.picture, made, everybody, uid="u", wall=5.0), "invalid_deployment", outcome="invalid"
    )
    assert said == "no such file"
    few = Inspection(everybody=False, asked=1, said={"w1": "no such file"})
    change = admit(here.picture, made, few, uid="u", wall=5.0)
    assert isinstance(change, Change)
    assert isinstance(change.answer, Done)
    assert json.loads(change.answer.document)["warnings"] == [
        "a worker was asked, and refuses it: no such file"
    ]
    some = Inspection(everybody=False, asked=2, said={"w1": "no such file", "w2": "no such file"})
    assert warnings_of(admit(here.picture, made, some, uid="u", wall=5.0)) == [
        "2 workers were asked, and all refuse it: no such file"
    ]


def test_a_model_that_is_larger_than_any_machine_is_accepted_with_a_warning() -> None:
    here = World()
    here.worker("w1", gpus=0, memory_total=8_000_000_000)
    here.worker("w2", gpus=0, memory_total=64_000_000_000, memory_budget=4_000_000_000)
    made = propose(here.picture, Deploy(DOCUMENT))
    assert isinstance(made, Proposal)

    def warnings(*, everybody: bool = True, **sizes: int) -> list[str]:
        said = dict.fromkeys(sizes, "")
        inspection = Inspection(everybody, len(sizes), said, sizes=sizes)
        return warnings_of(admit(here.picture, made, inspection, uid="u", wall=5.0))

    assert warnings(w1=20_000_000_000, w2=20_000_000_000) == [
        "the model has 20.0 GB, and no worker has so much memory: the largest has 8.0 GB"
    ]
    assert warnings(w1=7_000_000_000, w2=7_000_000_000) == []
    assert warnings(w1=20_000_000_000, gone=20_000_000_000) == []
    assert warnings(w1=20_000_000_000, everybody=False) == []
    assert warnings() == []


def test_what_no_worker_could_have_is_accepted_with_a_warning() -> None:
    here = World()
    here.worker("w1", gpus=1, memory_budget=4 * 10**9)
    here.deploy("x", memory="4GB", num_gpus=1)

    def warnings(**more: object) -> list[str]:
        made = propose(here.picture, Deploy(json.dumps({"model": "n", "backend": "command", **more})))
        assert isinstance(made, Proposal)
        return warnings_of(admit(here.picture, made, Inspection(True, 1, {"w1": ""}), uid="u", wall=5.0))

    (sentence,) = warnings(memory="5GB")
    assert sentence.startswith(
        "no worker has 5.0 GB of free memory for it (w1 has only 4.0 GB): start a worker"
    )
    assert warnings(node_selector={"zone": "mars"}) == [
        "no worker has the label zone=mars: start one with `--label zone=mars`, or change node_selector"
    ]
    assert warnings(memory="3GB", num_gpus=1) == [], "others may go for it"
    here.unlink("w1")
    here.wait(30.0)
    assert warnings(memory="5GB") == [], "workers may come"


@pytest.mark.parametrize(
    ("model", "name"), [("demo:tiny", "tiny"), ("hf:org/name@v2", "org/name"), ("hf:org/name", "org/name")]
)
def test_a_model_that_is_given_as_a_source_has_the_name_that_it_has_there(model: str, name: str) -> None:
    made = propose(World().picture, Deploy(json.dumps({"model": model})))
    assert isinstance(made, Proposal)
    assert (made.spec.model, made.spec.source) == (name, model)


def test_a_model_whose_source_is_elsewhere_keeps_its_name() -> None:
    made = propose(World().picture, Deploy('{"model": "demo:tiny", "source": "/models/tiny"}'))
    assert isinstance(made, Proposal)
    assert (made.spec.model, made.spec.source) == ("demo:tiny", "/models/tiny")


def test_a_source_may_have_no_name_that_is_an_alias_too() -> None:
    said = propose(World().picture, Deploy('{"model": "demo:tiny", "aliases": ["tiny"]}'))
    sentence = refused(said, "invalid_deployment", outcome="invalid")
    assert sentence.startswith("aliases has tiny, which the deployment is called anyway")


def test_a_model_for_gpus_is_measured_by_their_memory() -> None:
    here = World()
    here.worker("w1", gpus=0).inventory = Inventory(
        name="w1", gpus=tuple(Gpu(str(n), memory_total=n * 10**9) for n in (8, 16, 24))
    )
    here.inventory("w1")
    node = here.picture.fleet.nodes["w1"]
    assert [room_for_model(node, gpus) for gpus in (0, 1, 2, 9)] == [0, 24 * 10**9, 40 * 10**9, 48 * 10**9]
    node.inventory = None
    assert room_for_model(node, 1) == 0
