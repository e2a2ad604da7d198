"""Waits until a deployment is ready, and tells a person or a script how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from .answers.deployments import DeploymentDocument, InstanceDocument
from .answers.reading import read
from .client import GatewayClient, path_of
from .errors import CommandFailure, RequestRefused, Unreachable
from .rollout import in_progress, is_current
from .terminal import complain, is_interactive, moving_line, say

POLL_SECONDS = 0.5
"""Pause between two questions to the gateway."""

PATIENCE_SECONDS = 15.0
"""How long the gateway may be away before waiting is given up; it restarts within a second or two."""

SHOWN_LOG_LINES = 20
"""Lines of a failed engine's log that are shown."""

Report = Callable[[str], None]
"""Takes one line that says how far something is; the same line may come again."""


class PatientPoll:
    """Asks the gateway again and again, and bears with it being away for up to ``PATIENCE_SECONDS``."""

    def __init__(self) -> None:
        self._seen = time.monotonic()

    def ask(self, question: Callable[[], Any]) -> Any:
        """Return what ``question`` returns, or None if the gateway cannot be asked now.

        Raises:
            RequestRefused: The gateway refuses, for a reason that does not pass.
            CommandFailure: The gateway was away for too long.
        """
        try:
            answer = question()
        except (Unreachable, RequestRefused) as error:
            if isinstance(error, RequestRefused) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            if time.monotonic() - self._seen > PATIENCE_SECONDS:
                raise
            return None
        self._seen = time.monotonic()
        return answer


def wait_until_ready(
    client: GatewayClient, deployment_id: str, *, revision: int, timeout: float, report: Report
) -> DeploymentDocument:
    """Return a deployment once it is ready, or asleep until a request comes.

    One that is idle is loaded once, so that what is wrong with it shows now; it may be idle again then.

    Args:
        client: The client of the gateway.
        deployment_id: The deployment's id.
        revision: The revision that must be ready; the state of an older one does not count.
        timeout: Seconds to wait.
        report: Gets the deployment's ``phase`` again and again.

    Raises:
        CommandFailure: The deployment failed, was deleted, or was not ready in time; the rollout of the
            revision was paused, rolled back, or replaced by that of another one; or the gateway was away for
            longer than ``PATIENCE_SECONDS``.
    """

    loaded = False

    def reached(deployment: DeploymentDocument) -> bool:
        nonlocal loaded
        if not (is_current(deployment, revision) and is_settled(deployment)):
            return False
        if deployment.state == "idle" and not loaded:
            loaded = True
            client.request("POST", f"{path_of('deployments', deployment_id)}/load")
            return False
        return True

    return wait_until(client, deployment_id, reached, aim="ready", timeout=timeout, report=report)


def wait_until(
    client: GatewayClient,
    deployment_id: str,
    reached: Callable[[DeploymentDocument], bool],
    *,
    aim: str,
    timeout: float,
    report: Report,
) -> DeploymentDocument:
    """Return a deployment once ``reached`` says that it is as it should be; in words: ``aim``.

    Raises:
        CommandFailure: ``reached`` raised it, the deployment was deleted, or was not so in time; or the
            gateway was away for longer than ``PATIENCE_SECONDS``.
    """
    deadline = time.monotonic() + timeout
    patience = PatientPoll()
    path = path_of("deployments", deployment_id)
    deployment = None
    while True:
        try:
            answer = patience.ask(lambda: client.request("GET", path))
        except RequestRefused as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            raise CommandFailure(f"{deployment_id} was deleted before it was {aim}") from None
        if answer is not None:
            deployment = read(DeploymentDocument, answer)
            report(phase(deployment))
            if reached(deployment):
                return deployment
        if time.monotonic() > deadline:
            state = "nothing is known of it" if deployment is None else unfinished(deployment)
            raise CommandFailure(
                f"{deployment_id} is not {aim} after {timeout:g} s: {state} (sllm status {deployment_id})"
            )
        time.sleep(POLL_SECONDS)


def is_settled(deployment: DeploymentDocument) -> bool:
    """Say whether a deployment is ready, or asleep until the first request.

    Raises:
        CommandFailure: It has failed (``explain_failure`` makes the message), or it is being deleted.
    """
    if deployment.state in ("failed", "crash_loop"):
        raise CommandFailure(explain_failure(deployment))
    if deployment.state == "deleting":
        raise CommandFailure(f"{deployment.id} is being deleted")
    return deployment.state in ("ready", "asleep", "idle")


def phase(deployment: DeploymentDocument) -> str:
    """Return one line that says how far a deployment is: by its rollout and its first unfinished instance."""
    rollout = in_progress(deployment)
    beginning = f"{deployment.id}: {rollout}" if rollout else ""
    for instance in deployment.instances:
        if instance.state not in ("ready", "stopped", "failed", "draining" if rollout else ""):
            where = f" on {instance.where}" if instance.where else ""
            what = instance.progress or instance.reason
            state = f"{instance.state}{where}" + (f", {what}" if what else "")
            return f"{beginning}; {state}" if beginning else f"{deployment.id}: {state}"
    detail = f" ({deployment.detail})" if deployment.detail else ""
    return beginning or f"{deployment.id}: {deployment.state}{detail}"


def unfinished(deployment: DeploymentDocument) -> str:
    """Return what a deployment that is not ready still does or waits for, in part of a sentence."""
    if rollout := in_progress(deployment):
        return f"the rollout goes on ({rollout})"
    starting = [each for each in deployment.instances if each.state == "starting"]
    if starting:
        return f"it goes on loading ({starting[0].progress or 'starting'})"
    waiting = [each for each in deployment.instances if each.state == "pending"]
    reason = (waiting[0].progress or waiting[0].reason) if waiting else deployment.detail
    return f"{reason or 'nothing has been started for it yet'}; it starts as soon as it can"


def explain_failure(deployment: DeploymentDocument) -> str:
    """Return why a deployment failed: reason, exit status and the last lines of the engine's log."""
    failed = [
        instance for instance in deployment.instances if instance.state == "failed" or instance.failures
    ]
    instance = failed[-1] if failed else InstanceDocument(id="")
    reason = instance.reason or deployment.detail or "no reason is known"
    text = f"{deployment.id} failed: {reason}"
    if instance.exit_status and instance.exit_status not in text:
        text += f" ({instance.exit_status})"
    if instance.log_tail:
        text += f"\nThe last lines of its log (all of it: sllm logs {instance.id}):"
        text += "".join(f"\n  {line}" for line in instance.log_tail[-SHOWN_LOG_LINES:])
    return text


@contextmanager
def reporting(*, silent: bool = False, err: bool = False) -> Iterator[Report]:
    """Give a ``Report`` that shows lines: on a terminal one line that changes, elsewhere a line per change.

    Args:
        silent: Whether to show nothing.
        err: Whether to write to standard error instead of standard output.
    """
    if silent:
        yield lambda _: None
        return
    if is_interactive(err=err):
        started = time.monotonic()
        with moving_line(err=err) as show:
            yield lambda text: show(f"{text}  {time.monotonic() - started:.0f} s")
        return
    last = ""

    def report(text: str) -> None:
        nonlocal last
        if text != last:
            (complain if err else say)(text)
        last = text

    yield report
