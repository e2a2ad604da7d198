"""Why a deployment is as it is: one sentence, with what would change it."""

from __future__ import annotations

from math import ceil

from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.deployment_state import DeploymentState
from sllm_actors.serving.picture.missing import waiting_revision, what_is_missing
from sllm_actors.serving.picture.picture import Picture
from sllm_actors.serving.picture.replica import KnownReplica, is_crash_loop

_ASKED = "a worker has been asked to start it"


def detail(
    picture: Picture,
    deployment: Deployment,
    state: DeploymentState,
    speaker: KnownReplica | None,
    now: float,
    *,
    whole: bool,
) -> str:
    """Return a sentence that explains the state of a deployment, or what is wrong although it serves, or "".

    Args:
        picture: The head's picture.
        deployment: One that is in it.
        state: How it is.
        speaker: The replica that this is due to, if it is one.
        now: Seconds on the head's clock.
        whole: Whether it is asked for this one only, and may look for what takes longer to find.
    """
    report = None if speaker is None else speaker.report
    match state:
        case DeploymentState.DELETING:
            return _ending(deployment)
        case DeploymentState.READY:
            return _trouble(picture, deployment, now)
        case DeploymentState.ASLEEP:
            return "; ".join(filter(None, [_sleeps(speaker), _trouble(picture, deployment, now)]))
        case DeploymentState.IDLE:
            return "; ".join(filter(None, [_why_idle(deployment), _ending(deployment)]))
    if speaker is None:
        return _why_nowhere(picture, deployment, now, whole=whole)
    if report is None:
        return _ASKED
    if state is DeploymentState.CRASH_LOOP:
        stays = "; no other worker has a place for it" if speaker.stays else ""
        return f"it failed {report.failures} times in a row: {report.reason}{stays}"
    if state is DeploymentState.FAILED:
        return report.reason
    return report.progress or (_ASKED if state is DeploymentState.PENDING else "")


def _ending(deployment: Deployment) -> str:
    left = len(deployment.replicas)
    return f"{left} of its replicas {'is' if left == 1 else 'are'} still ending" if left else ""


def _sleeps(speaker: KnownReplica | None) -> str:
    level = None if speaker is None or speaker.report is None else speaker.report.level
    where = f"it sleeps at level {level}" if level is not None else "it sleeps"
    return f"{where}: the next request wakes it"


def _why_idle(deployment: Deployment) -> str:
    if not deployment.fewer:
        return "its first request starts it"
    return f"{deployment.fewer}: its next request starts it"


def _trouble(picture: Picture, deployment: Deployment, now: float) -> str:
    """Return what is wrong although a replica serves, as a sentence, or ""."""
    troubles = []
    reports = (each.report for each in deployment.replicas.values() if each.report is not None)
    if looping := [report for report in reports if is_crash_loop(report)]:
        worst = max(looping, key=lambda report: report.failures)
        troubles.append(
            f"{len(looping)} of its replicas fail{'s' if len(looping) == 1 else ''} over and over"
            f" ({worst.failures} times in a row): {worst.reason}"
        )
    if deployment.wait is not None and not deployment.rolling:  # else the rollout says so
        missing = what_it_waits_for(picture, deployment, now)
        troubles.append(f"not all of its replicas have a place: {missing}")
    return "; ".join(troubles)


def _why_nowhere(picture: Picture, deployment: Deployment, now: float, *, whole: bool) -> str:
    if not picture.settling.over:
        return _unsettled(picture)
    if deployment.wait is None:
        return "a worker is being chosen"
    missing = what_it_waits_for(picture, deployment, now)
    turn = _turn(picture, deployment, now) if whole else ""
    if deployment.wait.overdue:
        missing = f"{deployment.why_overdue()}: {missing}"
        turn = turn or "it starts as soon as there is one"
    return "; ".join(filter(None, [missing, turn]))


def what_it_waits_for(picture: Picture, deployment: Deployment, now: float) -> str:
    """Return what a replica without a place waits for: what ends for it, or what is missing."""
    claim = picture.planner.evictor.claims.get(deployment.uid)
    if claim is not None:
        node = picture.fleet.nodes[claim.node]
        leaving = sorted((str(each.replica.key), each.level) for each in claim.going)
        parts = [f"{key} {'has ended' if level is None else 'is asleep'}" for key, level in leaving]
        going = " and ".join(parts) or "what was there has ended"
        doing = "has room for it" if claim.wakes is None else "has room for it to wake"
        return f"{node.name or node.id} {doing} as soon as {going}"
    return what_is_missing(deployment, picture.fleet, picture.catalogue.by_uid, now)


def _turn(picture: Picture, deployment: Deployment, now: float) -> str:
    """Return when a replica that waits for requests gets the place of one that is in use, or ""."""
    evictor = picture.planner.evictor
    when = evictor.turn_at(deployment, now)
    if when is None:
        return "" if evictor.may_take(deployment) else _room_for_requests(picture, deployment, now)
    seconds = max(0, ceil(when - now))
    return f"one that is in use gives up its place in {seconds} s or later: it has its turn"


def _room_for_requests(picture: Picture, deployment: Deployment, now: float) -> str:
    """Return what makes idle replicas of others go for one that nobody asks for, or "" if none would go."""
    if picture.fleet.doubts_itself:
        return ""
    room = picture.planner.evictor.room_of_idle(deployment, waiting_revision(deployment), now)
    if room is None or not room.going:
        return ""
    return "idle replicas of others make room for it when a request comes, or by `sllm load`"


def _unsettled(picture: Picture) -> str:
    missing = len(picture.settling.awaited)
    who = "1 worker that it knows" if missing == 1 else f"{missing} workers that it knows"
    return "the head has just started and waits for " + (who if missing else "its workers") + " to report"
