"""Ours: the head's picture, as it is in production, with workers and a gateway played around it.

``head`` drives the picture: events in, effects out. ``workers`` obeys its orders on the simulated cluster
and reports what becomes of them. ``gateway`` holds and routes requests by the rules of the real one, and
tells the head of demand.
"""

from .policy import Ours

__all__ = ["Ours"]
