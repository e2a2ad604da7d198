"""Which deployment a person means by a name."""

from __future__ import annotations

from collections.abc import Sequence

from .answers.deployments import DeploymentDocument
from .errors import CommandFailure


def in_words(name: str) -> str:
    """Return a name for use in a sentence: in quotes if it is empty or has blanks in it."""
    return name if name.split() == [name] else repr(name)


def is_deployed(deployments: Sequence[DeploymentDocument], name: str, backend: str | None = None) -> bool:
    """Say whether ``name`` is the id or the model of at least one deployment, of ``backend`` if given."""
    return bool(_meant(deployments, name, backend))


def find_deployment(
    deployments: Sequence[DeploymentDocument], name: str, backend: str | None = None
) -> DeploymentDocument:
    """Return the deployment with the id ``name``, or the only one of the model ``name``.

    Args:
        deployments: All deployments.
        name: An id or a model's name.
        backend: The backend that the deployment must have; None for any.

    Raises:
        CommandFailure: There is no such deployment, or there are several.
    """
    found = _meant(deployments, name, backend)
    if len(found) > 1:
        choices = ", ".join(sorted(each.id for each in found))
        raise CommandFailure(f"{name} is deployed more than once: name one of {choices}")
    if not found:
        suffix = f" with backend {backend}" if backend else ""
        raise CommandFailure(f"no deployment {in_words(name)}{suffix}: sllm status lists what is there")
    return found[0]


def _meant(
    deployments: Sequence[DeploymentDocument], name: str, backend: str | None
) -> list[DeploymentDocument]:
    fitting = [each for each in deployments if backend in (None, each.backend)]
    by_id = [each for each in fitting if each.id == name]
    return by_id or [each for each in fitting if each.model == name]
