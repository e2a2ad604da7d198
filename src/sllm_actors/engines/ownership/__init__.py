"""Owning an engine: when its worker ends, in whatever way, no process and no file of the engine is left.

``engine_process.EngineProcess`` starts and ends one engine for the worker. Between the two is a leash
(``leash``, a process of its own), which ends the engine when the worker is gone; ``worker_link`` is what
worker and leash say to each other. ``leases`` are records on disk for the case that both are killed together;
``orphans`` finds the processes of an engine whose leash was killed. ``port_owner`` tells whether it is the
engine that listens on its port.
"""
