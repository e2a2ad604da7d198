"""Owning an engine: nothing of it is left when its worker has ended, in whatever way.

``engine_process.EngineProcess`` is the worker's hold on one engine. It goes through a leash (``leash``, a
program of its own) that ends the engine when the worker goes; ``leases`` are the records on disk for the
case that worker and leash are killed together, and ``orphans`` finds what was on such a leash.
"""
