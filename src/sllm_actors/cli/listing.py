"""Lists of the gateway, fetched page by page; and the deployments that a name can mean."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from .answers.deployments import DeploymentDocument
from .answers.reading import read
from .answers.status import ListDocument
from .client import GatewayClient, path_of
from .errors import CommandFailure, RequestRefused

PAGE = 500
"""The most entries that are asked for at a time: the head does nothing else while it describes them."""

MOST_PAGES = 10_000
"""The most pages of one list."""


def fetch_list(client: GatewayClient, path: str, *, limit: int | None = None, **filters: str) -> Any:
    """Return the answer to a request for a list, with the entries of all its pages.

    Args:
        client: The client of the gateway.
        path: The path of the list, as ``/status``.
        limit: How many entries are wanted at most; None for all. ``next`` of the answer is None if there are
            no more.
        filters: Further parameters; one that is "" counts for nothing.

    Raises:
        CommandFailure: The gateway cannot be asked, or what it answers is no list.
    """
    params: dict[str, int | str] = {name: text for name, text in filters.items() if text}
    merged: dict[str, Any] = {}
    for _ in range(MOST_PAGES):
        left = PAGE if limit is None else min(PAGE, limit - _count(merged))
        answer = client.request("GET", path, params=params | {"limit": left})
        page = read(ListDocument, answer)
        for name, value in answer.items():
            if isinstance(value, list):
                merged[name] = merged.get(name, []) + value
            else:
                merged[name] = value
        if page.next is None or (limit is not None and _count(merged) >= limit):
            return merged
        params["cursor"] = page.next
    raise CommandFailure(f"the list at {path} has no end: is it an sllm gateway?")


def fetch_deployments(client: GatewayClient, name: str) -> list[DeploymentDocument]:
    """Return the deployments that have ``name`` as their id or model, without their settings."""
    name = name.encode(errors="replace").decode()
    if not name:
        return []
    answer = fetch_list(client, "/deployments", model=name)
    found = [read(DeploymentDocument, each) for each in answer.get("deployments", [])]
    if ":" in name:  # as every id has
        try:
            found.append(read(DeploymentDocument, client.request("GET", path_of("deployments", name))))
        except RequestRefused as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
    return found


def _count(answer: dict[str, Any]) -> int:
    return sum(len(value) for value in answer.values() if isinstance(value, list))
