"""Whom the actor benchmark measures: sllm_actors on three event loops, and the peers that are installed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from attrs import frozen

from bench.harness.child import Child

ROOT: Final = Path(__file__).resolve().parents[2]
ENVIRONMENTS: Final = ROOT / ".bench-peers"
"""Where ``make bench-peers`` puts an environment for each peer."""

LOOPS: Final = ("uvloop", "asyncio", "trio")
GROUPS: Final = ("local", "remote", "population")
TIMEOUTS: Final = {"full": 180.0, "quick": 60.0}


@frozen
class Subject:
    """Somebody who can be measured.

    Attributes:
        ours: Whether it is sllm_actors.
        groups: The groups of measures that mean something for it.
        python: The interpreter of its environment.
        module: Run as ``python -m module *arguments GROUP SCALE``.
        package: Of a peer, where that is not named as the peer is.
    """

    name: str
    ours: bool
    groups: tuple[str, ...]
    python: Path
    module: str
    arguments: tuple[str, ...] = ()
    package: str = ""

    @property
    def installed(self) -> bool:
        """Whether its environment is there."""
        return self.python.exists()

    @property
    def version(self) -> str:
        """The version of a peer, by the name of its installed metadata; nothing of ours."""
        if not self.ours:
            packages = self.python.parents[1]
            for info in packages.glob(f"lib/python*/site-packages/{self.package or self.name}-*.dist-info"):
                return re.sub(r"^[^-]*-|\.dist-info$", "", info.name)
        return ""

    def child(self, group: str, scale: str) -> Child:
        """Return the program that measures one group."""
        return Child(
            name=f"{self.name} ({group})",
            command=[str(self.python), "-m", self.module, *self.arguments, group, scale],
            folder=ROOT,
            environment={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "RAY_USAGE_STATS_ENABLED": "0"},
            timeout=TIMEOUTS[scale],
        )


def our_subjects() -> list[Subject]:
    """Return sllm_actors on each event loop."""
    return [Subject(loop, True, GROUPS, Path(sys.executable), "bench.ours", (loop,)) for loop in LOOPS]


def peer_subjects() -> list[Subject]:
    """Return every peer, installed or not."""
    peers = {
        "pykka": ("local", "population"),
        "xoscar": GROUPS,
        "ray": ("remote", "population"),
        "monarch": ("remote",),
    }
    return [
        Subject(
            name,
            ours=False,
            groups=groups,
            python=ENVIRONMENTS / name / "bin" / "python",
            module=f"bench.peers.on_{name}",
            package="torchmonarch" if name == "monarch" else "",
        )
        for name, groups in peers.items()
    ]
