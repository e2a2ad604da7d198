"""Whether a document becomes a deployment: first it must be valid, then a worker must be able to run it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from attrs import field, frozen

from sllm_actors.serving.decisions.reconcile import Deployment
from sllm_actors.serving.deployment.document import MAX_DOCUMENT, read_document, settings_as_typed
from sllm_actors.serving.deployment.problem import DeploymentProblem
from sllm_actors.serving.deployment.spec import DeploymentSpec

from .answers import being_deployed, deployed_already, invalid
from .inspection import WorkerLife
from .messages import ControlAnswer, Refusal, RefusalKind

SHOWN_REFUSALS = 3
"""How many different reasons of workers are told; there may be hundreds."""


@frozen
class Proposal:
    """A valid document of a deployment that does not exist yet.

    Attributes:
        spec: What the document says.
        warnings: Sentences for its author.
        typed: Older names of settings that its author used, by today's names; see ``settings_as_typed``.
    """

    spec: DeploymentSpec
    warnings: list[str]
    typed: Mapping[str, str] = field(factory=dict)


@frozen
class AdmissionVerdict:
    """The answers of workers on a proposal.

    Attributes:
        proposal: What they were asked about.
        asked: How many workers were asked.
        answers: Of each worker that answered: "" if it could run the deployment, else the reason.
    """

    proposal: Proposal
    asked: int
    answers: Mapping[WorkerLife, str]

    @property
    def refused(self) -> str:
        """Why all workers that were asked have refused it, as one sentence; "" if not all have."""
        refusals = [problem for problem in self.answers.values() if problem]
        if len(refusals) < self.asked:
            return ""
        different = sorted(set(refusals))  # a mistake in the settings is the same to all
        more = len(different) - SHOWN_REFUSALS
        sentence = "; ".join(different[:SHOWN_REFUSALS])
        sentence += f"; and {more} more workers refuse" if more > 0 else ""
        for name, older in self.proposal.typed.items():
            sentence = re.sub(rf"\b{name}\b", older, sentence)
        return sentence


def propose(
    document: str, deployments: Mapping[str, Deployment], admitting: Collection[str]
) -> Proposal | ControlAnswer:
    """Read a document; return the answer at once if workers need not be asked, else the proposal.

    Args:
        document: JSON text as ``read_document`` takes it.
        deployments: The deployments that exist, by id.
        admitting: The ids of proposals that are not decided yet.
    """
    if len(document.encode(errors="replace")) > MAX_DOCUMENT:
        sentence = f"the deployment has more than {MAX_DOCUMENT} bytes"
        return Refusal(RefusalKind.TOO_LARGE, "too_large", sentence)
    try:
        spec, warnings = read_document(document)
    except DeploymentProblem as problem:
        return invalid(problem)
    known = deployments.get(spec.id)
    if known is not None:
        return deployed_already(known, spec, warnings)
    if spec.id in admitting:
        return being_deployed(spec.id)
    return Proposal(spec, warnings, settings_as_typed(document))
