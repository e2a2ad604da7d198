"""Whether a document becomes a deployment or an update: it must be valid, and a worker must not refuse it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import field, frozen

from sllm_actors.engines.gpu_figures import GpuFigures
from sllm_actors.models.byte_size import shown_bytes

from . import answers, control
from .control import Change
from .deployment.changes import differing_keys, is_engine_change, read_patch
from .deployment.document import MAX_DOCUMENT, read_document, settings_as_typed
from .deployment.problem import DeploymentProblem
from .deployment.spec import DeploymentSpec
from .messages import ControlAnswer, Deploy, Refusal, RefusalKind, UpdateDeployment
from .picture.deployment import Deployment, Revision, revision_record
from .picture.missing import what_no_worker_has
from .picture.picture import Picture
from .picture.room.fitting import room_for_model
from .store.records import DeploymentRecord

SHOWN_REFUSALS = 3
"""How many different reasons of workers are told."""


@frozen
class Proposal:
    """A valid deployment, or a valid change of one.

    Attributes:
        spec: What it is to be.
        warnings: Sentences for its author.
        typed: Older names of settings that its author used, by today's names; see ``settings_as_typed``.
        update: Whether it changes a deployment that exists.
        allow_downtime: As in ``UpdateDeployment``.
        new_engine: Whether engines are started for it, so that workers are worth asking.
    """

    spec: DeploymentSpec
    warnings: list[str]
    typed: Mapping[str, str] = field(factory=dict)
    update: bool = False
    allow_downtime: bool = False
    new_engine: bool = True


@frozen
class Inspection:
    """What some workers say of a proposal.

    Attributes:
        everybody: Whether all workers that are linked were asked.
        asked: How many were asked.
        said: Of each one that answered, by node: "" if it could run it, else the reason.
        typed: As in ``Proposal``.
        sizes: The bytes of the model's files, by the workers that know them.
        gpu_figures: What the model takes of each GPU of an engine, where a worker knows that.
    """

    everybody: bool
    asked: int
    said: Mapping[str, str]
    typed: Mapping[str, str] = field(factory=dict)
    sizes: Mapping[str, int] = field(factory=dict)
    gpu_figures: GpuFigures | None = None

    @property
    def refused(self) -> str:
        """Why all workers that were asked refuse it, as one sentence; "" if not all do."""
        refusals = [problem for problem in self.said.values() if problem]
        if not refusals or len(refusals) < self.asked:
            return ""
        different = sorted(set(refusals))  # a mistake in the settings is the same to all
        more = len(different) - SHOWN_REFUSALS
        sentence = "; ".join(different[:SHOWN_REFUSALS])
        sentence += f"; and {more} more workers refuse" if more > 0 else ""
        for name, older in self.typed.items():
            sentence = re.sub(rf"\b{name}\b", older, sentence)
        return sentence


def propose(picture: Picture, request: Deploy) -> Proposal | ControlAnswer:
    """Read a document; return the answer if nothing has to be changed, else the proposal."""
    document = request.document
    if len(document.encode(errors="replace")) > MAX_DOCUMENT:
        sentence = f"the deployment has more than {MAX_DOCUMENT} bytes"
        return Refusal(RefusalKind.TOO_LARGE, "too_large", sentence)
    try:
        spec, warnings = read_document(document)
    except DeploymentProblem as problem:
        return answers.invalid(problem)
    typed = settings_as_typed(document)
    known = picture.catalogue.by_id.get(spec.id)
    if known is None:
        return _taken(picture, spec) or Proposal(spec, warnings, typed)
    if known.deleting:
        return answers.deleting(known.id)
    if not (keys := differing_keys(known.spec, spec)):
        return answers.deployed(known.id, known.target, warnings, created=False)
    if not request.update:
        return answers.deployed_differently(known.id, keys)
    return _taken(picture, spec) or _update(
        known, spec, warnings, typed, allow_downtime=request.allow_downtime
    )


def propose_update(picture: Picture, request: UpdateDeployment) -> Proposal | ControlAnswer:
    """Read a patch; return the answer if nothing has to be changed, else the proposal."""
    known = picture.catalogue.by_id.get(request.deployment)
    if known is None:
        return answers.unknown(request.deployment)
    if known.deleting:
        return answers.deleting(known.id)
    if len(request.patch.encode(errors="replace")) > MAX_DOCUMENT:
        sentence = f"the patch has more than {MAX_DOCUMENT} bytes"
        return Refusal(RefusalKind.TOO_LARGE, "too_large", sentence)
    try:
        spec, warnings = read_patch(known.spec, request.patch)
    except DeploymentProblem as problem:
        return answers.invalid(problem)
    return _taken(picture, spec) or _update(known, spec, warnings, {}, allow_downtime=request.allow_downtime)


def admit(
    picture: Picture, proposal: Proposal, inspection: Inspection, *, uid: str, wall: float
) -> Change | ControlAnswer:
    """Decide about a proposal.

    Args:
        picture: The picture as it is now; the proposal's id has been held since it was proposed.
        proposal: What is proposed.
        inspection: What workers say of it.
        uid: Random text for a new deployment.
        wall: Seconds since the epoch.
    """
    refused = inspection.refused
    if refused and inspection.everybody and picture.settling.over:
        return Refusal(RefusalKind.INVALID, "invalid_deployment", refused, "source")
    if taken := _taken(picture, proposal.spec):
        return taken
    warnings = proposal.warnings
    if refused:
        several = f"{inspection.asked} workers were asked, and all refuse it"
        who = several if inspection.asked > 1 else "a worker was asked, and refuses it"
        warnings = [*warnings, f"{who}: {refused}"]
    lacking = _nowhere(picture, proposal.spec, inspection)
    if lacking := lacking or _too_large(picture, proposal.spec, inspection):
        warnings = [*warnings, lacking]
    if not proposal.update:
        return control.add(picture, proposal.spec, uid, wall, warnings)
    known = picture.catalogue.by_id.get(proposal.spec.id)
    if known is None:
        return answers.unknown(proposal.spec.id)
    return control.update(
        picture, known, proposal.spec, wall, warnings, allow_downtime=proposal.allow_downtime
    )


def _nowhere(picture: Picture, spec: DeploymentSpec, inspection: Inspection) -> str:
    """Return a sentence if none of the workers could have a replica though it were empty; "" if one could."""
    revision = Revision.of(revision_record("", 1, spec, 0.0))
    proposed = Deployment.of(DeploymentRecord("", spec.id, 0.0, current=1), {1: revision})
    proposed.figures.learn(revision.fingerprint, inspection.gpu_figures, 0.0)
    return what_no_worker_has(proposed, picture.fleet)


def _too_large(picture: Picture, spec: DeploymentSpec, inspection: Inspection) -> str:
    """Return a sentence if no worker has as much memory as the model has bytes; "" if one has."""
    rooms = []
    for node, size in inspection.sizes.items():
        known = picture.fleet.nodes.get(node)
        room = 0 if known is None else room_for_model(known, spec.gpus_on(known.gpus))
        if not room or room >= size:
            return ""
        rooms.append(room)
    if not rooms or not inspection.everybody:
        return ""
    size, room = max(inspection.sizes.values()), max(rooms)
    largest = f"the largest has {shown_bytes(room)}"
    return f"the model has {shown_bytes(size)}, and no worker has so much memory: {largest}"


def _taken(picture: Picture, spec: DeploymentSpec) -> Refusal | None:
    taken = picture.catalogue.name_taken(spec)
    return None if taken is None else answers.name_taken(*taken)


def _update(
    known: Deployment,
    spec: DeploymentSpec,
    warnings: list[str],
    typed: Mapping[str, str],
    *,
    allow_downtime: bool,
) -> Proposal:
    new_engine = is_engine_change(known.spec, spec)
    return Proposal(spec, warnings, typed, update=True, allow_downtime=allow_downtime, new_engine=new_engine)
