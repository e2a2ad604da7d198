"""Engines: each replica is served by one family of processes, owned from its command line to its last file.

Other rooms use ``host`` (what all engines of a worker share), ``messages`` (what goes between a replica and
its worker) and ``replica.actor`` (the actor that runs one replica). The sub-rooms: ``backends`` know the
engine programs, ``replica`` knows the life of one replica, ``ownership`` sees that no engine outlives its
worker, ``warm`` forks engines from a process that has imported everything, ``machine`` shares out GPUs, CPU
cores and disk space for logs, ``installs`` finds and makes Python environments that contain an engine,
``external`` reaches servers that somebody else runs.
"""
