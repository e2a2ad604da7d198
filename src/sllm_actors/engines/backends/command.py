"""The command backend: any program that speaks OpenAI's API, where the worker allows it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from sllm_actors.engines.environment import engine_environment
from sllm_actors.engines.errors import LaunchProblem, SettingsProblem
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.messages import ReplicaOrder, SourceInspected
from sllm_actors.engines.plan import EnginePaths, LaunchPlan

from . import llamacpp, sglang, vllm
from .backend import Launch
from .port import choose_port
from .settings import flag, read_settings, text, words
from .sleep import VllmSleep
from .work_metrics import WorkMetrics

KEY_FILE = "key"
NOT_ALLOWED = "this worker runs no commands: start it with --allow-command if it should"

WORK = WorkMetrics.of_any(vllm.WORK, sglang.WORK, llamacpp.WORK)
"""What the program may be, or may count as: its metrics tell by their names."""

_PLACE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})")


@frozen
class CommandSettings:
    """Settings of the command backend.

    Attributes:
        command: The program (an absolute path) and its arguments, as a list; a single text is split as a
            shell would split it, but no shell runs it. Anywhere in a word, ``$PORT`` or ``$SOCKET`` (where
            the program has to listen), ``$MODEL`` (the deployment's source), ``$NAME`` (the name that clients
            use) and ``$KEYFILE`` (the path of a file with the bearer token that worker and gateways send)
            stand for their values; ``$$`` is a dollar sign.
        health_path: The path that answers 200 when the program is ready; by default ``/health``, or if that
            does not exist ``/v1/models``.
        enable_sleep_mode: The program sleeps and wakes through the same HTTP routes as vLLM.
    """

    command: tuple[str, ...] = words()
    health_path: str = text("")
    enable_sleep_mode: bool = flag(default=False)


class Command:
    """The command backend. See ``Backend``."""

    name = "command"

    def inspect(
        self,
        source: str,  # noqa: ARG002
        settings: Mapping[str, object],
        python: str,  # noqa: ARG002
        num_gpus: int,  # noqa: ARG002
    ) -> SourceInspected:
        """See ``Backend.inspect``."""
        read_command(settings)
        return SourceInspected()

    def launch(self, order: ReplicaOrder, host: EngineHost, paths: EnginePaths) -> Launch:
        """See ``Backend.launch``."""
        if not host.policy.allow_command:
            raise LaunchProblem(NOT_ALLOWED)
        settings = read_command(order.settings)
        port = choose_port()
        values = {
            "PORT": str(port.number),
            "SOCKET": str(paths.socket),
            "MODEL": order.source,
            "NAME": order.model,
            "KEYFILE": str(paths.tmpdir / KEY_FILE),
        }
        argv = tuple(substitute(word, values) for word in settings.command)
        launch = LaunchPlan(
            argv=argv,
            env=engine_environment(host.policy.environment, paths),
            paths=paths,
            files={KEY_FILE: port.key},
            stop_budget=host.policy.stop_budget,
        )
        named = names_in(settings.command)
        address = port.address if "PORT" in named else f"unix:{paths.socket}"
        health = (settings.health_path,) if settings.health_path else ("/health", "/v1/models")
        tiers = VllmSleep() if settings.enable_sleep_mode else None
        key = port.key if "KEYFILE" in named else ""
        return Launch(address, health, launch, tiers=tiers, key=key, work=WORK)


def read_command(settings: Mapping[str, object]) -> CommandSettings:
    """Read the settings of a deployment, by name.

    Raises:
        SettingsProblem: One is unknown or not allowed; there is no command, or it names not exactly one of
            ``$PORT`` and ``$SOCKET``.
    """
    found = read_settings(CommandSettings, settings, Command.name)
    if not found.command:
        raise SettingsProblem("the command backend needs the setting command: a program and its arguments")
    program = found.command[0]
    if not Path(program).is_absolute():
        raise SettingsProblem(f"command must begin with the absolute path of a program, not {program!r:.100}")
    named = names_in(found.command)
    unknown = sorted(named - {"PORT", "SOCKET", "MODEL", "NAME", "KEYFILE"})
    if unknown:
        raise SettingsProblem(
            f"command has ${unknown[0]} in it: there are $PORT, $SOCKET, $MODEL, $NAME and $KEYFILE"
            " ($$ is a dollar sign)"
        )
    if len(named & {"PORT", "SOCKET"}) != 1:
        raise SettingsProblem("command must say where it listens: with $PORT (of 127.0.0.1) or with $SOCKET")
    return found


def names_in(words: tuple[str, ...]) -> set[str]:
    """Return the names of the variables in these words: ``PORT`` for ``$PORT`` or ``${PORT}``."""
    return {match[2] or match[3] for word in words for match in _PLACE.finditer(word) if not match[1]}


def substitute(word: str, values: Mapping[str, str]) -> str:
    """Replace the variables in a word by their values; a ``$`` in a value is not replaced again."""
    return _PLACE.sub(lambda match: "$" if match[1] else values[match[2] or match[3]], word)
