"""The OpenAPI document says what the gateway serves: no more, and no less."""

from __future__ import annotations

import re
from typing import Any

import pytest
from quart import Quart
from tests.gateway.kit import PlayedCluster, served

from sllm_actors.gateway.api.openapi import DOCUMENT
from sllm_actors.gateway.surface import destination_of

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]


def operations() -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}


def routes_of(app: Quart) -> set[tuple[str, str]]:
    """Return what an application serves, but ``OPTIONS`` and ``HEAD``, which come with the others."""
    found = set()
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<\w+:\w+>", "{id}", rule.rule)
        found |= {(method, path) for method in (rule.methods or ()) if method not in ("OPTIONS", "HEAD")}
    return found


async def test_it_has_each_route_and_only_what_is_served(cluster: PlayedCluster) -> None:
    routes = routes_of(the_app(cluster))
    assert len(routes) > 15
    assert routes <= operations()
    for method, path in operations() - routes:
        assert destination_of(method, path.encode(), b"") is not None, (method, path)


def the_app(cluster: PlayedCluster) -> Quart:
    app = cluster.gateway.app._app  # type: ignore[attr-defined]
    assert isinstance(app, Quart)
    return app


async def test_it_is_served_and_its_answers_are_as_it_says(cluster: PlayedCluster) -> None:
    http = cluster.http()
    assert (await http.get("/openapi.json")).json() == DOCUMENT
    await cluster.deploy(served())
    schemas: dict[str, Any] = DOCUMENT["components"]["schemas"]
    for path, name in (("/v1/models/smol", "Model"), ("/v1/models", "Models"), ("/health", "Health")):
        assert set(schemas[name]["required"]) <= set((await http.get(path)).json())
    error = (await http.get("/v1/models/nobody")).json()["error"]
    assert set(error) == set(schemas["Error"]["properties"]["error"]["properties"])


def test_each_reference_leads_somewhere() -> None:
    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            return [str(value["$ref"])] if "$ref" in value else references(list(value.values()))
        return [each for item in value for each in references(item)] if isinstance(value, list) else []

    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        part: Any = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
        assert part
