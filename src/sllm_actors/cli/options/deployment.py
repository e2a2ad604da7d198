"""The options that say what a deployment is: those of ``sllm deploy``, which ``sllm update`` has too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from attrs import frozen

from sllm_actors.cli import document
from sllm_actors.cli.parameters import KEY_VALUE, FiniteRange, WholeRange, each_key_once
from sllm_actors.serving.deployment.spec import MAX_PRIORITY

from .common import Command, json_option, options, source_option, timeout_option


@frozen(kw_only=True)
class DeploymentOptions:
    """What was given of these options; None or an empty tuple for what was not."""

    source: str | None
    config: Path | None
    num_gpus: int | None
    gpu_memory: str | None
    target: int | None
    min_instances: int | None
    max_instances: int | None
    scale_down_delay: float | None
    keep_alive: float | None
    learn_keep_alive: bool | None
    priority: int | None
    pinned: bool | None
    preload: bool | None
    endpoints: tuple[str, ...]
    engine_args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    secret_env: tuple[tuple[str, str], ...]
    keys: tuple[tuple[str, str], ...]

    def document(self, **identity: str | None) -> dict[str, Any]:
        """Return the document that they describe.

        Args:
            identity: ``model`` and ``backend``, where a command has them.

        Raises:
            CommandFailure: The file cannot be read, or an option makes no sense; see ``document.build``.
        """
        return document.build(
            document.load(self.config) if self.config else {}, folder=Path.cwd(), **self._given(identity)
        )

    def as_typed(self, **identity: str | None) -> dict[str, str]:
        """Return how a person typed each key; see ``document.options_as_typed``."""
        return document.options_as_typed(**self._given(identity))

    def _given(self, identity: Mapping[str, str | None]) -> dict[str, Any]:
        scalars = {"source": self.source, "num_gpus": self.num_gpus, "gpu_memory": self.gpu_memory}
        room = {"priority": self.priority, "pinned": self.pinned, "preload": self.preload}
        return {
            "scalars": {**identity, **scalars, **room},
            "auto_scaling": {
                "target": self.target,
                "min_instances": self.min_instances,
                "max_instances": self.max_instances,
                "scale_down_delay": _whole(self.scale_down_delay),
                "keep_alive": _whole(self.keep_alive),
                "learn_keep_alive": self.learn_keep_alive,
            },
            "endpoints": self.endpoints,
            "engine_args": self.engine_args,
            "variables": {"env": dict(self.env), "secret_env": dict(self.secret_env)},
            "keys": self.keys,
        }


def _whole(seconds: float | None) -> float | None:
    return int(seconds) if seconds is not None and seconds.is_integer() else seconds


def deployment_options(*, changing: bool) -> Callable[[Command], Command]:
    """Return a decorator that gives a command these options, as keywords that ``DeploymentOptions`` takes.

    Args:
        changing: Whether what is not given stays as it is, instead of having its default.
    """

    def unless_given(default: str) -> str:
        return "unchanged" if changing else default

    return options(
        source_option(unless_given("the model's name, a hub id or a path")),
        click.option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
            show_default="none",
            help="A deployment file, .json or .toml, or - for standard input; options win over it.",
        ),
        click.option(
            "--num-gpus",
            type=WholeRange(min=0),
            metavar="N",
            show_default=unless_given("1 for vllm and sglang where there are GPUs, else 0"),
            help="GPUs per replica.",
        ),
        click.option(
            "--gpu-memory",
            metavar="SIZE|auto",
            show_default=unless_given("whole GPUs"),
            help="Memory of each GPU that a replica takes, so that several share it; auto: as estimated.",
        ),
        click.option(
            "--target",
            type=WholeRange(min=1),
            metavar="N",
            show_default=unless_given("8"),
            help="Requests at a time that one replica should have.",
        ),
        click.option(
            "--min-instances",
            type=WholeRange(min=0),
            metavar="N",
            show_default=unless_given("none is kept, but one is started once"),
            help="Fewest replicas, kept without requests; 0: none is started before the first request.",
        ),
        click.option(
            "--max-instances",
            type=WholeRange(min=1),
            metavar="N",
            show_default=unless_given("1"),
            help="Most replicas.",
        ),
        click.option(
            "--scale-down-delay",
            type=FiniteRange(min=0),
            metavar="SECONDS",
            show_default=unless_given("300"),
            help="How long fewer replicas must be enough before some are stopped.",
        ),
        click.option(
            "--keep-alive",
            type=FiniteRange(min=-1),
            metavar="SECONDS",
            show_default=unless_given("-1"),
            help="How long replicas are kept after the last request; -1: until their room is needed.",
        ),
        click.option(
            "--learn-keep-alive/--no-learn-keep-alive",
            default=None,
            show_default=unless_given("no"),
            help="Learn that from the pauses between requests; --keep-alive is the longest then.",
        ),
        click.option(
            "--priority",
            type=WholeRange(-MAX_PRIORITY, MAX_PRIORITY),
            metavar="N",
            show_default=unless_given("0"),
            help="Where room is short, a deployment with a higher one goes first.",
        ),
        click.option(
            "--pinned/--no-pinned",
            default=None,
            show_default=unless_given("no"),
            help="Its replicas keep their room though others need it.",
        ),
        click.option(
            "--preload/--no-preload",
            default=None,
            show_default=unless_given("no"),
            help="Start a replica at once, and at each start of the head, if there is room.",
        ),
        click.option(
            "--endpoint",
            "endpoints",
            multiple=True,
            metavar="URL",
            help="Address of an external server; repeatable.",
        ),
        click.option(
            "--engine-arg",
            "engine_args",
            multiple=True,
            metavar="K=V",
            help="Setting of the engine, or with a dash (--engine-arg=--FLAG) an argument; repeatable.",
        ),
        click.option(
            "--env",
            type=KEY_VALUE,
            multiple=True,
            callback=each_key_once,
            metavar="K=V",
            help="Variable of the engine's environment; repeatable.",
        ),
        click.option(
            "--secret-env",
            type=KEY_VALUE,
            multiple=True,
            callback=each_key_once,
            metavar="K=env:NAME|file:PATH",
            help="A variable whose value is read from a variable or file of the worker; repeatable.",
        ),
        click.option(
            "--set",
            "keys",
            type=KEY_VALUE,
            multiple=True,
            callback=each_key_once,
            metavar="KEY=VALUE",
            help="Any key of a deployment file, with dots (hold_timeout=60); null: its default; repeatable.",
        ),
    )


waiting_options = options(
    click.option("--wait/--no-wait", default=False, help="Wait until it is ready, and show how far it is."),
    timeout_option(1800.0),
    json_option,
)
"""Give a command the options ``--wait``, ``--timeout`` and ``--json``."""

allow_downtime_option = click.option(
    "--allow-downtime",
    is_flag=True,
    help="Where there is no room for both, stop a replica of the old revision first.",
)
