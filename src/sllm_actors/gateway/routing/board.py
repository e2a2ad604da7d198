"""The board: the gateway's actor publishes routes on it, and the hot path reads them there. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import errors

from .route import Route, resolve


class Board:
    """The present route of each deployment. Only ``GatewayActor`` publishes.

    A change costs by how many deployments have the model's name or its aliases, not by how many there are.

    Attributes:
        routes: The routes of all deployments that are served, by deployment id.
        complete: Whether a head has told of all deployments, to this gateway or to one before it.
    """

    def __init__(self) -> None:
        self.complete = False
        self.routes: dict[str, Route] = {}
        self._names: dict[str, list[str]] = {}

    def publish(self, route: Route) -> None:
        """Replace the route of a deployment, or remove it if the deployment is no longer served."""
        before = _names_of(self.routes.get(route.id))
        if route.served is not None:
            self.routes[route.id] = route
        else:
            self.routes.pop(route.id, None)
        after = _names_of(route)
        for name in before:
            if name not in after:
                self._drop_name(name, route.id)
        for name in after:
            if name not in before:
                insort(self._names.setdefault(name, []), route.id)

    def withdraw(self, deployment: str) -> None:
        """Remove the route of a deployment, if there is one."""
        self.publish(Route(deployment))

    def find(self, model: str, backend: str | None = None) -> Route | None:
        """Return the route that a request's ``model`` and ``backend`` mean, or None; see ``resolve``."""
        return resolve(self.routes, self._names, model, backend)

    def meant(self, name: str) -> list[str]:
        """Return the ids of all deployments that a name means: an id, or else a model or an alias."""
        return [name] if name in self.routes else list(self._names.get(name, ()))

    def missing(self, model: str, backend: str | None = None) -> ApiError:
        """Return the error of a request whose ``model``, with that ``backend`` if any, was not found."""
        if not self.complete:
            return errors.models_unknown()
        others = self.meant(model) if backend else []
        if others:
            return errors.backend_not_found(model, backend or "", others)
        return errors.model_not_found(model)

    def listed(self) -> list[tuple[str, Route]]:
        """Return each deployment's route with the name that clients are shown for it, sorted by that name.

        The name is the model's, unless several deployments go by it or it is the id of another deployment:
        then it is the deployment's id.
        """
        listed = []
        for route in self.routes.values():
            assert route.served is not None
            name = route.served.model
            clear = len(self._names[name]) == 1 and (name == route.id or name not in self.routes)
            listed.append((name if clear else route.id, route))
        return sorted(listed, key=lambda entry: entry[0])

    def _drop_name(self, name: str, deployment: str) -> None:
        ids = self._names[name]
        del ids[bisect_left(ids, deployment)]
        if not ids:
            del self._names[name]


def _names_of(route: Route | None) -> tuple[str, ...]:
    """Return the names beside the id that a request may mean a deployment by, each once."""
    if route is None or route.served is None:
        return ()
    return tuple(dict.fromkeys((route.served.model, *route.served.aliases)))
