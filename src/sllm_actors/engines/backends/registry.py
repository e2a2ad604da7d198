"""The list of backends, and what is done for each of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches

from attrs import evolve

from sllm_actors.engines.errors import LaunchProblem, name_worker
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.messages import InspectSource, ReplicaOrder, SourceInspected
from sllm_actors.engines.warm.fork_client import ForkServerSpec
from sllm_actors.models.errors import SourceProblem

from .backend import Backend, Launch
from .command import NOT_ALLOWED, Command
from .external import External
from .llamacpp import LlamaCpp
from .sglang import Sglang
from .vllm import Vllm
from .vllm_fork import fork_server_spec as warm_vllm

BACKENDS: Mapping[str, Backend] = {
    backend.name: backend for backend in (Vllm(), Sglang(), LlamaCpp(), Command(), External())
}


FORK_SERVERS: Mapping[str, Callable[[EngineHost], ForkServerSpec | None]] = {"vllm": warm_vllm}
"""For backends whose engines can be forked: returns what the fork server is to be, None if not installed."""


def backend_named(name: str) -> Backend:
    """Return the backend of this name.

    Raises:
        LaunchProblem: There is none.
    """
    backend = BACKENDS.get(name)
    if backend is None:
        close = get_close_matches(name, BACKENDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise LaunchProblem(f"there is no backend {name!r}, only {', '.join(sorted(BACKENDS))}{hint}")
    return backend


def with_variables(launch: Launch, order: ReplicaOrder, host: EngineHost) -> Launch:
    """Return a launch with the environment variables that the order sets for the engine. Reads the disk.

    An engine with such variables is started as a program, since a fork server's environment is another one.

    Raises:
        LaunchProblem: A variable cannot be set: see ``read_variables``.
    """
    variables = host.own_variables(order.env, order.secret_env)
    if launch.plan is None or not variables:
        return launch
    return evolve(launch, plan=evolve(launch.plan, env={**launch.plan.env, **variables}))


def inspect_source(request: InspectSource, host: EngineHost) -> SourceInspected:
    """Answer ``InspectSource``. Reads the disk: call it in a thread.

    Nothing is downloaded: of a source that would have to be, only the form of its name is checked.
    """
    local: str | None = ""
    try:
        backend = backend_named(request.backend)
        local = host.models.find(backend.name, request.source)
        if backend.name == Command.name and not host.policy.allow_command:
            return _refused(NOT_ALLOWED, host)
        host.own_variables(request.env, request.secret_env)
        python = host.interpreters.of(backend.name)
        return backend.inspect(local or request.source, request.settings, python, request.num_gpus)
    except SourceProblem as problem:
        # A backend looks at the source last: all but that is as it should be.
        return SourceInspected() if local is None else _refused(str(problem), host)
    except LaunchProblem as problem:
        return _refused(str(problem), host)


def _refused(problem: str, host: EngineHost) -> SourceInspected:
    return SourceInspected(problem=name_worker(problem, host.name))
