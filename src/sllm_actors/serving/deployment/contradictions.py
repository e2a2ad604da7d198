"""What the values of a deployment may say against each other. Pure, and without the schema itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from .problem import Mistake
from .schedule import Schedule

AUTO: Final = "auto"
"""As ``gpu_memory``: as much as is estimated."""

ESTIMATED: Final = ("vllm", "sglang")
"""The backends whose engines run on a GPU unless told otherwise, and tell from files what they take of it."""

Rule: TypeAlias = Callable[..., Iterator[Mistake]]
"""Takes the values that it is about, and yields what is wrong with them."""


def contradictions(values: Mapping[str, Any]) -> list[Mistake]:
    """Return what values of a deployment say against each other.

    Args:
        values: By the names of attributes of ``DeploymentSpec`` and of ``Scaling``. A rule about an attribute
            that is not there is left out: so the values that are right can be checked beside wrong ones.
    """
    found: list[Mistake] = []
    for names, rule in _RULES:
        if all(name in values for name in names):
            found += rule(*(values[name] for name in names))
    return found


def _served_by_somebody(backend: str, endpoints: tuple[str, ...]) -> Iterator[Mistake]:
    if backend == "external" and not endpoints:
        yield Mistake("an external deployment needs at least one endpoint", "endpoints")
    if backend != "external" and endpoints:
        yield Mistake(f"endpoints belong to the external backend, not to {backend}", "endpoints")


def _no_source(backend: str, source: str) -> Iterator[Mistake]:
    if backend == "external" and source:
        yield Mistake(
            "source means nothing to the external backend: endpoints say where its servers are, and the"
            " setting upstream_model what they call the model",
            "source",
        )


def _no_gpus(backend: str, num_gpus: int | None) -> Iterator[Mistake]:
    if backend == "external" and num_gpus:
        yield Mistake("num_gpus means nothing to the external backend: leave it out", "num_gpus")


def _no_memory(backend: str, memory: int | None) -> Iterator[Mistake]:
    if backend == "external" and memory:
        yield Mistake("memory means nothing to the external backend: leave it out", "memory")


def _shares_gpus(backend: str, num_gpus: int | None, gpu_memory: int | str | None) -> Iterator[Mistake]:
    estimated = backend in ESTIMATED
    if gpu_memory and (num_gpus == 0 or (num_gpus is None and not estimated)):
        yield Mistake(
            "gpu_memory means nothing without a GPU: give num_gpus too, or leave it out", "gpu_memory"
        )
    elif gpu_memory == AUTO and not estimated:
        backends = " and ".join(ESTIMATED)
        yield Mistake(
            f"gpu_memory auto is reckoned for {backends} only: give {backend} the bytes, as 6GiB",
            "gpu_memory",
        )


def _one_share(gpu_memory: int | str | None, settings: dict[str, Any]) -> Iterator[Mistake]:
    if gpu_memory and settings.get("gpu_memory_utilization") is not None:
        yield Mistake(
            "gpu_memory and gpu_memory_utilization both say how much of a GPU a replica has: keep gpu_memory",
            "gpu_memory",
        )


def _no_variables(table: str) -> Rule:
    def check(backend: str, variables: dict[str, str]) -> Iterator[Mistake]:
        if backend == "external" and variables:
            sentence = f"{table} means nothing to the external backend: no worker starts its servers"
            yield Mistake(sentence, table)

    return check


def _not_scaled(key: str, default: object) -> Rule:
    def check(backend: str, given: object) -> Iterator[Mistake]:
        if backend == "external" and given != default:
            sentence = f"{key} means nothing to the external backend: it has one replica for each endpoint"
            yield Mistake(sentence, f"auto_scaling_config.{key}")

    return check


def _takes_no_room(key: str, default: object) -> Rule:
    def check(backend: str, given: object) -> Iterator[Mistake]:
        if backend == "external" and given != default:
            yield Mistake(f"{key} means nothing to the external backend: its servers take no room here", key)

    return check


def _given_once(env: dict[str, str], secret_env: dict[str, str]) -> Iterator[Mistake]:
    for name in sorted(env.keys() & secret_env.keys()):
        yield Mistake(f"{name} is given twice: in env and in secret_env", f"env.{name}")


def _minimum_below_maximum(backend: str, least: int | None, most: int) -> Iterator[Mistake]:
    if backend != "external" and least is not None and least > most:
        yield Mistake(_above(least, most), "auto_scaling_config.min_instances")


def _above(least: int, most: int) -> str:
    return f"min_instances ({least}) is more than max_instances ({most}): raise max_instances as well"


def _schedules_in_bounds(least: int | None, most: int, schedules: Sequence[Schedule]) -> Iterator[Mistake]:
    for number, each in enumerate(schedules):
        few = each.min_instances if each.min_instances is not None else least
        many = each.max_instances if each.max_instances is not None else most
        key = f"auto_scaling_config.schedules[{number}]"
        own = each.min_instances is not None or each.max_instances is not None
        if own and few is not None and few > many:
            yield Mistake(f"{key}: {_above(few, many)}", key)


def _other_names(model: str, backend: str, aliases: tuple[str, ...]) -> Iterator[Mistake]:
    for name in (model, f"{model}:{backend}"):
        if name in aliases:
            yield Mistake(
                f"aliases has {name}, which the deployment is called anyway: leave it out", "aliases"
            )


SCALED: Final[Mapping[str, object]] = {
    "target": 8,
    "min_instances": None,
    "max_instances": 1,
    "scale_down_delay": 300.0,
    "keep_alive": -1.0,
    "sleep_level": None,
    "sleep_keep_alive": -1.0,
    "learn_keep_alive": False,
    "schedules": (),
}
"""What says how many replicas there are of a deployment that is scaled, and what it is if nobody says it."""

ROOM: Final[Mapping[str, object]] = {"priority": 0, "pinned": False, "preload": False}
"""What says who has the room of workers, and what it is if nobody says it."""

_RULES: tuple[tuple[tuple[str, ...], Rule], ...] = (
    (("backend", "endpoints"), _served_by_somebody),
    (("backend", "source"), _no_source),
    (("backend", "num_gpus"), _no_gpus),
    (("backend", "memory"), _no_memory),
    (("backend", "num_gpus", "gpu_memory"), _shares_gpus),
    (("gpu_memory", "settings"), _one_share),
    (("backend", "env"), _no_variables("env")),
    (("backend", "secret_env"), _no_variables("secret_env")),
    (("env", "secret_env"), _given_once),
    *((("backend", key), _not_scaled(key, default)) for key, default in SCALED.items()),
    *((("backend", key), _takes_no_room(key, default)) for key, default in ROOM.items()),
    (("backend", "min_instances", "max_instances"), _minimum_below_maximum),
    (("min_instances", "max_instances", "schedules"), _schedules_in_bounds),
    (("model", "backend", "aliases"), _other_names),
)
