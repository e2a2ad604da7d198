"""Lets messages carry refs: an ``ActorRef`` travels as its address and becomes one of the receiver."""

from __future__ import annotations

from cattrs.preconf.msgpack import MsgpackConverter

from sllm_actors.actors.reference import ActorRef
from sllm_actors.actors.system import ActorSystem

from .codec import Hooks, address_from_wire, address_to_wire


def reference_hooks(system: ActorSystem) -> Hooks:
    """Return the ``hooks`` of a ``Transport`` that carries messages for ``system``."""

    def register(converter: MsgpackConverter) -> None:
        converter.register_unstructure_hook(ActorRef, lambda ref: address_to_wire(ref.address))
        converter.register_structure_hook(ActorRef, lambda raw, _: system.ref(address_from_wire(raw)))

    return register
