"""What follows when people ask for replicas to be loaded, stopped, put to sleep or woken. Pure.

As in ``control``, each function returns the answer if nothing is to be changed, or a ``Change``, of which
nothing is written: what people ask here holds until clients want otherwise.
"""

from __future__ import annotations

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving import answers
from sllm_actors.serving.control import Change
from sllm_actors.serving.messages import ControlAnswer, Done, Refusal, RefusalKind
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.events import Event, LoadAsked, TierAsked, UnloadAsked
from sllm_actors.serving.picture.picture import Picture
from sllm_actors.serving.picture.planning.scaling import minimum

LEVELS = (0, 1, 2)


def load(picture: Picture, name: str) -> Change | ControlAnswer:
    """Have a replica ready; one that is asleep is woken. What is ready is kept as if it had been used now."""
    found = _known(picture, name)
    if not isinstance(found, Deployment):
        return found
    states = _states(found)
    if ReplicaState.READY in states:
        return _change(found, LoadAsked(found.uid), _said(name, "ready", f"{name} is loaded"))
    if ReplicaState.ASLEEP in states:
        said = _said(name, "ready", f"{name} is asleep, and wakes up", pending=True)
        return Change(name, (), (LoadAsked(found.uid), TierAsked(found.uid, None)), said)
    already = " already" if found.wanted else ""
    said = _said(name, "ready", f"{name} is being loaded{already}", pending=True)
    return _change(found, LoadAsked(found.uid), said)


def unload(picture: Picture, name: str, *, force: bool, wall: float) -> Change | ControlAnswer:
    """Stop all replicas until the next request, unless there must be some, or they have requests.

    Args:
        picture: The picture.
        name: The id of the deployment.
        force: Whether to stop those with requests, too, once these have ended.
        wall: Seconds since the epoch: schedules may want replicas now.
    """
    found = _known(picture, name)
    if not isinstance(found, Deployment):
        return found
    if found.spec.endpoints:
        sentence = (
            f"{name} is served by somebody else's servers: `sllm delete {name}` sends them nothing more"
        )
        return Refusal(RefusalKind.CONFLICT, "cannot_unload", sentence)
    if least := minimum(found, wall):
        sentence = f"{name} is to have at least {least} replica{'s' if least > 1 else ''}"
        if least == found.spec.scaling.min_instances:
            sentence += f": `sllm update {name} --min-instances 0` lets it be unloaded"
        else:
            sentence += " now, as its schedules say: change auto_scaling_config.schedules, and unload it then"
        return Refusal(RefusalKind.CONFLICT, "has_minimum", sentence)
    if not found.wanted and not found.running():
        return _said(name, "idle", f"{name} is not loaded")
    if not force and (busy := _requests(picture, name)):
        sentence = f"{name} has {busy}: unload it later, or with --force, which lets them end first"
        return Refusal(RefusalKind.CONFLICT, "busy", sentence, retry_after=1.0)
    said = _said(name, "idle", f"{name} is being unloaded; the next request loads it again", pending=True)
    return _change(found, UnloadAsked(found.uid, force), said)


def put_to_sleep(picture: Picture, name: str, level: int) -> Change | ControlAnswer:
    """Put the replicas that are ready to sleep, unless they have requests."""
    found = _known(picture, name)
    if not isinstance(found, Deployment):
        return found
    if level not in LEVELS:
        sentence = f"level must be 0, 1 or 2, not {level}"
        return Refusal(RefusalKind.INVALID, "invalid_request", sentence, "level")
    if found.spec.endpoints:
        return _of_somebody(name)
    ready = [each.report for each in found.running() if each.state is ReplicaState.READY]
    if not ready:
        if ReplicaState.ASLEEP in _states(found):
            return _said(name, "asleep", f"{name} is asleep{_at_levels(found, level)}")
        return _not_now(found, "ready")
    if not any(report is not None and report.can_sleep for report in ready):
        sentence = f"the engine of {name} cannot sleep: `sllm unload {name}` stops it"
        return Refusal(RefusalKind.CONFLICT, "cannot_sleep", sentence)
    if busy := _requests(picture, name):
        sentence = f"{name} has {busy}: put it to sleep later"
        return Refusal(RefusalKind.CONFLICT, "busy", sentence, retry_after=1.0)
    said = _said(name, "asleep", f"{name} is put to sleep; the next request wakes it", pending=True)
    return _change(found, TierAsked(found.uid, level), said)


def wake(picture: Picture, name: str) -> Change | ControlAnswer:
    """Wake the replicas that are asleep."""
    found = _known(picture, name)
    if not isinstance(found, Deployment):
        return found
    if found.spec.endpoints:
        return _of_somebody(name)
    if any(each.sleep is not None for each in found.running()) or ReplicaState.ASLEEP in _states(found):
        said = _said(name, "ready", f"{name} wakes up", pending=True)
        return _change(found, TierAsked(found.uid, None), said)
    if ReplicaState.READY in _states(found):
        return _said(name, "ready", f"{name} is awake")
    return _not_now(found, "asleep")


def _at_levels(deployment: Deployment, wanted: int) -> str:
    """Return at which level the replicas sleep, where that is another one than is wanted."""
    reports = [each.report for each in deployment.running() if each.report is not None]
    others = {each.level for each in reports if each.level is not None} - {wanted}
    return f" at level {min(others)}" if others else ""


def _of_somebody(name: str) -> Refusal:
    sentence = f"{name} is served by somebody else's servers, which sllm neither puts to sleep nor wakes"
    return Refusal(RefusalKind.CONFLICT, "cannot_sleep", sentence)


def _known(picture: Picture, name: str) -> Deployment | Refusal:
    found = picture.catalogue.by_id.get(name)
    if found is None:
        return answers.unknown(name)
    return answers.deleting(name) if found.deleting else found


def _states(deployment: Deployment) -> set[ReplicaState]:
    return {replica.state for replica in deployment.running()}


def _requests(picture: Picture, name: str) -> str:
    """Return how many requests a deployment has, in words; "" for none."""
    demand = picture.demand.of(name)
    count = demand.held + demand.in_flight
    return f"{count} request{'s' if count > 1 else ''}" if count else ""


def _change(deployment: Deployment, event: Event, said: Done) -> Change:
    return Change(deployment.id, (), (event,), said)


def _said(name: str, state: str, sentence: str, *, pending: bool = False) -> Done:
    body = {"deployment_id": name, "state": state, "message": sentence}
    return answers.done(body, pending=pending)


def _not_now(deployment: Deployment, state: str) -> Refusal:
    remedy = "one is on its way" if deployment.wanted else "`sllm load` starts one"
    sentence = f"{deployment.id} has no replica that is {state}: {remedy}"
    return Refusal(RefusalKind.CONFLICT, "wrong_state", sentence)
