"""Where routers publish their routes, and the hot path reads them."""

from __future__ import annotations

from .route import Route, index_names, resolve


class Board:
    """The present route of each deployment. Routes are immutable; only routers publish."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self._names: dict[str, tuple[str, ...]] = {}

    def publish(self, route: Route) -> None:
        """Replace the route of a deployment; one that serves nothing any more is taken off."""
        before = self.routes.get(route.id)
        if route.served is not None:
            self.routes[route.id] = route
        else:
            self.routes.pop(route.id, None)
        if (before and before.served) != route.served:
            self._names = index_names(self.routes.values())

    def withdraw(self, deployment: str) -> None:
        """Take a deployment off."""
        self.publish(Route(deployment))

    def find(self, model: str, backend: str | None = None) -> Route | None:
        """Return the route that a request's ``model`` means, or None."""
        return resolve(self.routes, self._names, model, backend)

    def listed(self) -> list[tuple[str, Route]]:
        """Return each deployment under the name that clients see: the model's where that is unambiguous."""
        listed = []
        for name, ids in self._names.items():
            for deployment in ids:
                shown = (
                    name if len(ids) == 1 and (name == deployment or name not in self.routes) else deployment
                )
                listed.append((shown, self.routes[deployment]))
        return sorted(listed, key=lambda entry: entry[0])
