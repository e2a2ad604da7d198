"""Whether a document may become a deployment: first by itself, then by what workers say of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from attrs import field, frozen

from sllm_actors.serving.decisions.reconcile import Deployment
from sllm_actors.serving.deployment.document import MAX_DOCUMENT, read_document, settings_as_typed
from sllm_actors.serving.deployment.spec import DeploymentProblem, DeploymentSpec

from .answers import being_deployed, deployed_already
from .inspection import WorkerLife
from .messages import ControlAnswer, Refusal, RefusalKind

SHOWN_REFUSALS = 3
"""Workers whose reasons are told; there may be hundreds."""


@frozen
class Proposal:
    """A document that makes sense, of what is not deployed.

    Attributes:
        warnings: What its author should see.
        typed: Older names of settings that its author has used, by those of today.
    """

    spec: DeploymentSpec
    warnings: list[str]
    typed: Mapping[str, str] = field(factory=dict)


@frozen
class AdmissionVerdict:
    """What workers said of a proposal.

    Attributes:
        asked: How many were asked.
        answers: "" for yes or a reason, of those that answered.
    """

    proposal: Proposal
    asked: int
    answers: Mapping[WorkerLife, str]

    @property
    def refused(self) -> str:
        """Why every worker has refused it, or "" when not all have."""
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
    """Read a document, and refuse it or answer it at once where workers need not be asked.

    Args:
        admitting: The ids of proposals that are not decided yet.
    """
    if len(document.encode(errors="replace")) > MAX_DOCUMENT:
        sentence = f"the deployment has more than {MAX_DOCUMENT} bytes"
        return Refusal(RefusalKind.TOO_LARGE, "too_large", sentence)
    try:
        spec, warnings = read_document(document)
    except DeploymentProblem as problem:
        return Refusal(RefusalKind.INVALID, "invalid_deployment", str(problem), problem.param)
    known = deployments.get(spec.id)
    if known is not None:
        return deployed_already(known, spec, warnings)
    if spec.id in admitting:
        return being_deployed(spec.id)
    return Proposal(spec, warnings, settings_as_typed(document))
