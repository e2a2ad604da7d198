"""The schema of a deployment: one for the deployment file, the body of REST requests and the store."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import attrs
from attrs import Attribute, field, frozen, validators

from sllm_actors.engines.environment import why_decided
from sllm_actors.engines.external import AddressProblem, server_url
from sllm_actors.engines.own_variables import check_reference

from .contradictions import AUTO, contradictions
from .problem import Mistake, refuse
from .schedule import MAX_SCHEDULES, Schedule

DEFAULT_BACKEND = "vllm"

MAX_REPLICAS = 256
"""The most replicas of one deployment."""

MAX_SECONDS = 7 * 86400.0
"""The longest time that a deployment can set, in seconds, but for ``keep_alive``: a week."""

MAX_KEEP_ALIVE = 3650 * 86400.0  # ten years
ROUTING_POLICIES = ("p2c", "round-robin", "session", "prefix")
"""How a gateway may choose a replica."""

MAX_PRIORITY = 100
"""The highest priority of a deployment; less this, the lowest."""

MAX_ALIASES = 32
"""The most aliases of one deployment."""

MAX_VARIABLES = 64
"""The most variables in ``env``, and in ``secret_env``."""

MAX_BYTES = 2**50
"""The most bytes of memory that a replica can be said to take."""

MAX_LABELS = 64
"""The most labels in ``node_selector``."""

SIZE = "size"
"""In the metadata of an attribute: a document may give its value as a text such as ``6GiB``; with ``AUTO``
there, too, also as that."""

GpuMemory: TypeAlias = int | Literal["auto"]
"""Bytes of each GPU, or ``AUTO``."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


# A validator's sentence begins with the attribute's name in quotes, as those of attrs do.


def _between(least: float, most: float, *, or_else: float | None = None) -> Callable[..., None]:
    def check(_instance: object, attribute: Attribute[Any], value: float) -> None:
        if not least <= value <= most and value != or_else:
            also = "" if or_else is None else f", or {or_else:g}"
            raise ValueError(
                f"'{attribute.name}' must be from {least:g} to {most:.12g}{also}, not {value:.12g}"
            )

    return check


def _bytes(_instance: object, attribute: Attribute[Any], value: int | str) -> None:
    if AUTO in attribute.metadata and value == AUTO:
        return
    if isinstance(value, str) or not 1 <= value <= MAX_BYTES:
        raise ValueError(f"'{attribute.name}' must be from 1 byte to {MAX_BYTES >> 40} TiB, not {value}")


def _few_schedules(
    _instance: object, _attribute: Attribute[tuple[Schedule, ...]], schedules: tuple[Schedule, ...]
) -> None:
    if len(schedules) > MAX_SCHEDULES:
        raise ValueError(f"'schedules' must be at most {MAX_SCHEDULES}, not {len(schedules)}")


@frozen(kw_only=True)
class Scaling:
    """How many replicas a deployment has.

    Attributes:
        metric: What ``target`` counts; only ``concurrency`` (requests held and in flight) is known.
        target: How many requests at a time one replica should have.
        min_instances: How many replicas are kept without any request; None: none is, but one is started
            once, when the deployment is made.
        max_instances: The most replicas.
        scale_down_delay: Seconds for which fewer replicas must have been enough before some are stopped.
        keep_alive: Seconds for which replicas above the minimum are kept after the last request; -1: until
            their room is needed.
        sleep_level: The level at which replicas that are not needed sleep, where their engine can; 0: they
            are stopped instead; None: 1, or 2 where that is as quick.
        sleep_keep_alive: Seconds after which one that sleeps is stopped; -1: when its room is needed.
        learn_keep_alive: Whether they are kept for as long as the pauses between requests have lasted so far,
            once that is known, and started again before the next request is expected; ``keep_alive`` is the
            longest then.
        schedules: Other bounds at certain times; of several that hold at a time, the last one counts.
    """

    metric: str = field(default="concurrency")
    target: int = field(default=8, validator=_between(1, 1_000_000))
    min_instances: int | None = field(default=None, validator=validators.optional(_between(0, MAX_REPLICAS)))
    max_instances: int = field(default=1, validator=_between(1, MAX_REPLICAS))
    scale_down_delay: float = field(default=300.0, converter=float, validator=_between(0, MAX_SECONDS))
    keep_alive: float = field(
        default=-1.0, converter=float, validator=_between(0, MAX_KEEP_ALIVE, or_else=-1)
    )
    sleep_level: int | None = field(default=None, validator=validators.optional(_between(0, 2)))
    sleep_keep_alive: float = field(
        default=-1.0, converter=float, validator=_between(0, MAX_KEEP_ALIVE, or_else=-1)
    )
    learn_keep_alive: bool = field(default=False)
    schedules: tuple[Schedule, ...] = field(default=(), converter=tuple, validator=_few_schedules)

    @metric.validator
    def _known_metric(self, _attribute: Attribute[str], metric: str) -> None:
        if metric != "concurrency":
            raise ValueError("'metric' must be concurrency: nothing else is counted")


def _is_plain(name: str) -> bool:
    return 1 <= len(name) <= 256 and name.isprintable() and not any(c in " @?#\\" for c in name)


def _todays_policy(name: str) -> str:
    return "p2c" if name == "power_of_two" else name


def _known_policy(_spec: DeploymentSpec, _attribute: Attribute[str], name: str) -> None:
    if _todays_policy(name) not in ROUTING_POLICIES:
        known = ", ".join(ROUTING_POLICIES)
        raise ValueError(f"'routing_policy' must be one of {known}, not {name[:40]!r}")


def _aliases(_spec: DeploymentSpec, _attribute: Attribute[tuple[str, ...]], names: tuple[str, ...]) -> None:
    if len(names) > MAX_ALIASES:
        raise ValueError(f"'aliases' must be at most {MAX_ALIASES} names, not {len(names)}")
    for name in names:
        if not _is_plain(name):
            raise ValueError(
                f"'aliases' cannot have {name[:40]!r}: a name has 1 to 256 characters, all of them visible,"
                " and no space and none of @ ? # \\"
            )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"'aliases' has {twice[:40]!r} twice")


def _plain_name(_spec: DeploymentSpec, _attribute: Attribute[str], name: str) -> None:
    if not _is_plain(name):
        raise ValueError(
            "'model' must have 1 to 256 characters, all of them visible, and no space and none of @ ? # \\"
        )


def _backend_name(_spec: DeploymentSpec, _attribute: Attribute[str], name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name):
        raise ValueError(
            f"'backend' cannot be {name[:40]!r}: it is the name of an engine, as vllm or llamacpp"
        )


def _mended(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Return addresses as they are meant; what cannot be mended is for the validator."""
    mended = []
    for url in urls:
        try:
            mended.append(server_url(url))
        except AddressProblem:
            mended.append(url)
    return tuple(mended)


def _urls(_spec: DeploymentSpec, _attribute: Attribute[tuple[str, ...]], urls: tuple[str, ...]) -> None:
    if len(urls) > MAX_REPLICAS:
        raise ValueError(f"'endpoints' must be at most {MAX_REPLICAS} addresses, not {len(urls)}")
    wrong = [why for url in urls if (why := _why_no_address(url))]
    if wrong:
        more = [f"and {len(wrong) - 3} more"] if len(wrong) > 3 else []
        raise ValueError(f"'endpoints' must be addresses: {'; '.join([*wrong[:3], *more])}")
    for url, times in Counter(_mended(urls)).items():
        if times > 1:
            raise ValueError(f"'endpoints' must be different addresses: {url} is given twice")


def _why_no_address(url: str) -> str:
    try:
        server_url(url)
    except AddressProblem as problem:
        return str(problem)
    return ""


def _source_length(_spec: DeploymentSpec, _attribute: Attribute[str], source: str) -> None:
    if len(source) > 4096:
        raise ValueError("'source' must have at most 4096 characters")


def _variables(_spec: DeploymentSpec, attribute: Attribute[Any], values: dict[str, str]) -> None:
    if len(values) > MAX_VARIABLES:
        raise ValueError(f"'{attribute.name}' must be at most {MAX_VARIABLES} variables, not {len(values)}")
    refuse([wrong for name, value in values.items() for wrong in _variable(attribute.name, name, value)])


def _variable(table: str, name: str, value: str) -> Iterator[Mistake]:
    key = f"{table}.{name}"
    if not _VARIABLE.fullmatch(name):
        sentence = f"{table}: {name[:100]!r} is no variable: a name is of letters, digits and _"
        yield Mistake(sentence, table)
    elif why := why_decided(name):
        yield Mistake(f"{key} cannot be set: {why}", key)
    elif table == "secret_env" and (why := check_reference(value)):
        yield Mistake(f"{key}: {why}", key)


def _labels(_spec: DeploymentSpec, attribute: Attribute[Any], labels: dict[str, str]) -> None:
    if len(labels) > MAX_LABELS:
        raise ValueError(f"'{attribute.name}' must be at most {MAX_LABELS} labels, not {len(labels)}")
    for name, value in labels.items():
        if not name or not (name + value).isprintable() or len(name) + len(value) > 512:
            raise ValueError(
                f"'{attribute.name}' cannot have {name[:40]!r}: a label has a name, and is of 512 characters"
                " that can be shown, with its value"
            )


@frozen(kw_only=True)
class DeploymentSpec:
    """A model to serve, with a backend and its settings.

    Attributes:
        model: The name that clients use.
        backend: The kind of engine, as ``vllm``.
        source: ``hf:ID``, ``demo:NAME`` or a path; "" means that ``model`` is itself a path or a hub id.
        num_gpus: GPUs that each replica gets to itself; None lets the backend and its settings decide.
        memory: Bytes of the machine's memory that a replica takes; None: as measured, or estimated.
        gpu_memory: Bytes that a replica takes of each of its GPUs, beside others there; ``AUTO``: as
            many as are estimated from the model's files, its context and ``target``; None: whole GPUs.
        node_selector: Labels that a worker must have for a replica to go there, by name.
        scaling: How many replicas.
        settings: The backend's own settings; checked by the backend's schema on a worker.
        endpoints: For ``external``: the servers, one replica each; see ``server_url`` for what is mended.
        startup_timeout: Seconds that a replica may be without a place, and then that its engine may take to
            become ready.
        drain_timeout: Seconds that requests in flight get to end when a replica is withdrawn.
        hold_limit: The most requests that may wait for a replica, at each gateway.
        hold_timeout: Seconds that a request may wait for a replica.
        queue_timeout: Seconds that a request may wait while replicas are ready and all are full; None:
            ``hold_timeout``.
        routing_policy: How a gateway chooses a replica: one of ``ROUTING_POLICIES``.
        max_concurrency: The most requests that one replica has at a time, of all gateways together; None:
            what its engine runs at a time, where that is known.
        aliases: Further names that clients may call the model by.
        priority: Where room is short, deployments with a higher one go first.
        preload: Whether one replica is started when the deployment is made and whenever the head starts,
            where there is room, though no request waits for it.
        pinned: Whether its replicas keep their room though others need it.
        env: Environment variables of the engine, by name, on top of those that every engine gets.
        secret_env: Further variables, by name; each value says where a worker finds the secret, see
            ``check_reference``.

    Raises:
        DeploymentProblem, ValueError: A value is not allowed, or contradicts another; one sentence.
    """

    model: str = field(validator=_plain_name)
    backend: str = field(default=DEFAULT_BACKEND, validator=_backend_name)
    source: str = field(default="", validator=_source_length)
    num_gpus: int | None = field(default=None, validator=validators.optional(_between(0, 1024)))
    memory: int | None = field(default=None, validator=validators.optional(_bytes), metadata={SIZE: True})
    gpu_memory: GpuMemory | None = field(
        default=None, validator=validators.optional(_bytes), metadata={SIZE: True, AUTO: True}
    )
    node_selector: dict[str, str] = field(factory=dict, validator=_labels)
    scaling: Scaling = Scaling()
    settings: dict[str, Any] = field(factory=dict)
    endpoints: tuple[str, ...] = field(default=(), converter=_mended, validator=_urls)
    startup_timeout: float = field(default=600.0, converter=float, validator=_between(0.001, MAX_SECONDS))
    drain_timeout: float = field(default=30.0, converter=float, validator=_between(0, MAX_SECONDS))
    hold_limit: int = field(default=1024, validator=_between(0, 1_000_000))
    hold_timeout: float = field(default=300.0, converter=float, validator=_between(0.001, MAX_SECONDS))
    queue_timeout: float | None = field(
        default=None,
        converter=attrs.converters.optional(float),
        validator=validators.optional(_between(0.001, MAX_SECONDS)),
    )
    routing_policy: str = field(default="p2c", converter=_todays_policy, validator=_known_policy)
    max_concurrency: int | None = field(default=None, validator=validators.optional(_between(1, 1_000_000)))
    aliases: tuple[str, ...] = field(default=(), converter=tuple, validator=_aliases)
    priority: int = field(default=0, validator=_between(-MAX_PRIORITY, MAX_PRIORITY))
    pinned: bool = field(default=False)
    preload: bool = field(default=False)
    env: dict[str, str] = field(factory=dict, validator=_variables, repr=False)
    secret_env: dict[str, str] = field(factory=dict, validator=_variables)

    def __attrs_post_init__(self) -> None:
        values = {name: getattr(self, name) for name in attrs.fields_dict(DeploymentSpec)}
        refuse(contradictions(values | attrs.asdict(self.scaling, recurse=False)))

    @property
    def id(self) -> str:
        """``<model>:<backend>``."""
        return f"{self.model}:{self.backend}"

    @property
    def replicas(self) -> int:
        """How many replicas are started at once: one for each endpoint, else the minimum, or one if none is
        given."""
        least = self.scaling.min_instances
        return len(self.endpoints) or (1 if least is None else least)

    def source_of(self, number: int) -> str:
        """Return the source of replica ``number``: of several endpoints they take one each, in turn."""
        if self.endpoints:
            return self.endpoints[number % len(self.endpoints)]
        if self.source:
            return self.source
        return self.model if self.model.startswith("/") else f"hf:{self.model}"

    def gpus_on(self, total: int) -> int:
        """Return how many GPUs a replica takes on a worker that has ``total``.

        Without ``num_gpus``, vLLM runs on the CPU of a worker that has no GPU.
        """
        if self.num_gpus is None and self.backend == "vllm" and total == 0:
            return 0
        return self.gpus

    @property
    def gpus(self) -> int:
        """How many GPUs each replica takes on a worker that has GPUs."""
        if self.num_gpus is not None:
            return self.num_gpus
        if self.backend not in ("vllm", "sglang"):
            return 0
        size = self.settings.get("tensor_parallel_size")
        return size if isinstance(size, int) and size > 1 else 1
