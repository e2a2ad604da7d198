"""Within one process."""

from __future__ import annotations

from bench.peers.protocol import FAN_OUT, SMALL, Scale, emit
from sllm_actors.actors import ActorSystem, ChildSpec

from .messages import Echo, Note
from .work import ask_rate, concurrent_ask_rate, fan_out_rate, tell_rate


async def run(scale: Scale) -> None:
    """Measure and print what stays in one process."""
    note = Note(1, SMALL)
    async with ActorSystem() as system:
        echo = await system.start(ChildSpec("echo", Echo))
        emit("local_tell_s", await tell_rate(echo, note, scale))
        emit("local_ask_s", await ask_rate(echo, note, scale))
        emit("local_ask_64_s", await concurrent_ask_rate(echo, note, scale))
        many = [await system.start(ChildSpec(f"echo-{each}", Echo)) for each in range(FAN_OUT)]
        emit("local_fan_out_100_s", await fan_out_rate(many, note, scale))
