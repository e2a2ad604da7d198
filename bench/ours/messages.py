"""The messages of the benchmark, and the actors that take them."""

from __future__ import annotations

from attrs import frozen

from sllm_actors.actors import Actor, Catalog

CATALOG = Catalog()


@CATALOG.message("bench.note")
@frozen
class Note:
    """A small message: a number and some bytes."""

    number: int
    body: bytes


@CATALOG.message("bench.load")
@frozen
class Load:
    """Bytes to be taken; answered by how many there were."""

    body: bytes


@CATALOG.message("bench.taken")
@frozen
class Taken:
    """The answer to ``Load``."""

    size: int


class Echo(Actor):
    """Answers a note by itself."""

    async def receive(self, message: Note) -> Note:
        return message


class Sink(Actor):
    """Answers a load by its size."""

    async def receive(self, message: Load) -> Taken:
        return Taken(len(message.body))


class Idle(Actor):
    """Waits for a message that never comes."""
