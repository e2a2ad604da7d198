"""Which workers have which labels, so that nobody has to look at every worker for one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeAlias

Label: TypeAlias = tuple[str, str]
"""A name and a value."""


class LabelIndex:
    """The workers of each label. A change costs as much as the worker has labels."""

    def __init__(self) -> None:
        self._workers: dict[Label, dict[str, None]] = {}
        self._labels: dict[str, dict[str, str]] = {}

    def put(self, node: str, labels: Mapping[str, str]) -> None:
        """Let a worker have exactly these labels."""
        before = self._labels.get(node, {})
        if before == labels:
            return
        for label in before.items():
            workers = self._workers[label]
            del workers[node]
            if not workers:
                del self._workers[label]
        self._labels[node] = dict(labels)
        for label in labels.items():
            self._workers.setdefault(label, {})[node] = None
        if not labels:
            del self._labels[node]

    def fewest(self, selector: Mapping[str, str]) -> Collection[str]:
        """Return the workers that have one of these labels: the one that the fewest have.

        Among them are all that have all of these labels, of which there is one at least.
        """
        return min((self._workers.get(label, {}) for label in selector.items()), key=len)

    def missing(self, selector: Mapping[str, str]) -> Label | None:
        """Return one of these labels that no worker has, or None."""
        return next((label for label in selector.items() if label not in self._workers), None)
