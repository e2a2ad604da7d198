"""Answering questions about the cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence

from attrs import evolve

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.find_node import find_node
from sllm_actors.serving.messages import ControlAnswer, Done, Refusal, RefusalKind
from sllm_actors.serving.picture.deployment_state import DeploymentState
from sllm_actors.serving.picture.fleet import WORKER
from sllm_actors.serving.picture.node import KnownNode, Link
from sllm_actors.serving.picture.picture import Picture
from sllm_actors.serving.store.records import JournalEntry

from . import lists
from .cursors import CursorKind, CursorProblem, read_cursor, read_instance_cursor
from .deployments import deployment_view, listed_instance_view
from .events import event_views
from .messages import (
    MAX_LIMIT,
    DescribeCluster,
    DescribeDeployment,
    DescribeDeployments,
    DescribeInstance,
    DescribeInstances,
    DescribeNodes,
    DescribeWorker,
    DescribeWorkers,
    ListQuestion,
    Question,
)
from .nodes import worker_view
from .pages import ListPage, Section, fill
from .shapes import InstanceState, json_text
from .totals import totals_text

_KEY = re.compile(r"(?P<deployment>.+)@(?P<revision>\d{1,9})\.(?P<number>\d{1,9})(\.\d{1,9})?", re.DOTALL)

ROLES = ("worker", "gateway")


class QuestionRefused(Exception):
    """A question cannot be answered."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


Entries = Callable[[str], Sequence[JournalEntry]]
"""Returns the last entries of the journal about a deployment."""


def _none(_deployment: str) -> Sequence[JournalEntry]:
    return ()


def answer(picture: Picture, question: Question, now: float, entries: Entries = _none) -> ControlAnswer:
    """Answer a question about the cluster.

    It costs what the answer shows; of a list with a filter, what is looked at for one page.

    Args:
        picture: The head's picture; it stays as it is.
        question: One of ``messages``.
        now: Seconds on the head's clock.
        entries: Knows the journal, for one deployment that is asked about.

    Returns:
        ``Done`` with a JSON object; with a JSON list for workers and for instances, as the guide has them.
        ``Refusal``: what is asked about is not there, or the question has a value that is not allowed.
    """
    try:
        return _answer(picture, question, now, entries)
    except QuestionRefused as refused:
        return refused.refusal


def _answer(picture: Picture, question: Question, now: float, entries: Entries) -> Done:
    match question:
        case DescribeDeployment(name):
            deployment = picture.catalogue.by_id.get(name)
            if deployment is None:
                raise QuestionRefused(_no_deployment(name))
            view = deployment_view(picture, deployment, now, whole=True)
            return Done(json_text(evolve(view, events=event_views(entries(name)))))
        case DescribeWorker(name):
            return Done(json_text(worker_view(picture, _worker(picture, name))))
        case DescribeInstance(name):
            return _instance(picture, name)
        case _:
            return _list(picture, question, now)


def _list(picture: Picture, question: ListQuestion, now: float) -> Done:
    if not 1 <= question.limit <= MAX_LIMIT:
        raise _invalid("limit", f"limit must be from 1 to {MAX_LIMIT}, not {question.limit}")
    match question:
        case DescribeDeployments() | DescribeCluster():
            return _deployments(picture, question, now)
        case DescribeNodes():
            _one_of("state", question.state, Link)
            _one_of("role", question.role, ROLES)
            _, after = _cursor(question.cursor, CursorKind.NODE)
            found = lists.nodes(picture, after, state=question.state, role=question.role)
            return _page(picture, fill([found], question.limit), head=_head(picture))
        case DescribeWorkers():
            _one_of("state", question.state, Link)
            _, after = _cursor(question.cursor, CursorKind.NODE)
            found = lists.workers(picture, after, state=question.state)
        case DescribeInstances():
            found = _instances(picture, question)
    page = fill([found], question.limit)
    return Done(page.lists[found.name], next=page.next)


def _deployments(picture: Picture, question: DescribeDeployments | DescribeCluster, now: float) -> Done:
    _one_of("state", question.state, DeploymentState)
    kinds = [CursorKind.DEPLOYMENT]
    if isinstance(question, DescribeCluster):
        kinds.append(CursorKind.NODE)
    kind, after = _cursor(question.cursor, *kinds)
    found = lists.deployments(
        picture,
        now,
        after,
        state=question.state,
        model=question.model,
        backend=question.backend,
        node=_worker(picture, question.node, "node") if question.node else None,
    )
    if isinstance(question, DescribeDeployments):
        return _page(picture, fill([found], question.limit))
    begin = ""
    if kind is CursorKind.NODE:
        found, begin = evolve(found, entries=iter(())), after
    filtered = any((question.state, question.model, question.backend, question.node))
    nodes = lists.nodes(picture, begin, state="", role="")
    if filtered:
        nodes = evolve(nodes, entries=iter(()))
    return _page(picture, fill([found, nodes], question.limit), head=_head(picture))


def _head(picture: Picture) -> str:
    refused = json.dumps(picture.fleet.refused.get("", {}))
    return f'"head":{{"state":"up","refused":{refused}}}'


def _page(picture: Picture, page: ListPage, head: str = "") -> Done:
    parts = [f'"{name}":{text}' for name, text in page.lists.items()]
    parts += [head] if head else []
    parts += [f'"totals":{totals_text(picture)}', f'"next":"{page.next}"' if page.next else '"next":null']
    return Done(f"{{{','.join(parts)}}}", next=page.next)


def _instances(picture: Picture, question: DescribeInstances) -> Section:
    _one_of("state", question.state, InstanceState)
    deployment = None
    if question.deployment:
        deployment = picture.catalogue.by_id.get(question.deployment)
        if deployment is None:
            raise QuestionRefused(evolve(_no_deployment(question.deployment), param="deployment"))
    after = None
    if question.cursor:
        try:
            after = read_instance_cursor(question.cursor)
        except CursorProblem as problem:
            raise _invalid("cursor", str(problem)) from None
    node = _worker(picture, question.node, "node") if question.node else None
    return lists.instances(picture, after, deployment=deployment, node=node, state=question.state)


def _instance(picture: Picture, name: str) -> Done:
    match = _KEY.fullmatch(name)
    deployment = None if match is None else picture.catalogue.by_id.get(match["deployment"])
    if match is not None and deployment is not None:
        revision, number = int(match["revision"]), int(match["number"])
        key = ReplicaKey(deployment.id, revision, number, deployment.uid)
        if (replica := deployment.replicas.get(key)) is not None:
            return Done(json_text(listed_instance_view(picture, replica)))
    sentence = f"there is no instance {name[:200]!r}: GET /instances lists them"
    raise QuestionRefused(Refusal(RefusalKind.UNKNOWN, "not_found", sentence))


def _worker(picture: Picture, name: str, param: str | None = None) -> KnownNode:
    known = picture.fleet.nodes.get(name)
    if known is not None and known.role == WORKER:
        return known
    names = {each.id: each.name for each in picture.fleet.nodes.values() if each.role == WORKER}
    found = find_node(names, name)
    if isinstance(found, Refusal):
        raise QuestionRefused(evolve(found, param=param))
    return picture.fleet.nodes[found]


def _cursor(cursor: str, *kinds: CursorKind) -> tuple[CursorKind, str]:
    if not cursor:
        return kinds[0], ""
    try:
        return read_cursor(cursor, *kinds)
    except CursorProblem as problem:
        raise _invalid("cursor", str(problem)) from None


def _one_of(param: str, value: str, allowed: Iterable[str]) -> None:
    *first, last = map(str, allowed)
    if value and value not in (*first, last):
        raise _invalid(param, f"{param} must be {', '.join(first)} or {last}, not {value[:40]!r}")


def _invalid(param: str, sentence: str) -> QuestionRefused:
    return QuestionRefused(Refusal(RefusalKind.INVALID, "invalid_parameter", sentence, param))


def _no_deployment(name: str) -> Refusal:
    sentence = f"there is no deployment {name[:300]}: `sllm status` lists them"
    return Refusal(RefusalKind.UNKNOWN, "deployment_not_found", sentence)
