"""Which workers have which models on their disks, so that nobody has to look at every worker for one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sllm_actors.models.eviction import CachedModel


class ModelIndex:
    """The workers of each model. A change costs as much as the worker has models."""

    def __init__(self) -> None:
        self._workers: dict[str, dict[str, int]] = {}
        self._models: dict[str, dict[str, int]] = {}

    def put(self, node: str, models: Iterable[CachedModel]) -> None:
        """Let a worker have exactly these models."""
        sizes = {each.source: each.size for each in models}
        before = self._models.pop(node, {})
        if sizes:
            self._models[node] = sizes
        if before == sizes:
            return
        for source in before.keys() - sizes.keys():
            workers = self._workers[source]
            del workers[node]
            if not workers:
                del self._workers[source]
        for source, size in sizes.items():
            self._workers.setdefault(source, {})[node] = size

    def sizes(self, source: str) -> Mapping[str, int]:
        """Return the workers that have a model, each with its bytes there, which may be a part of it."""
        return self._workers.get(source, {})
