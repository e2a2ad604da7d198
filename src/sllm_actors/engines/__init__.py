"""Engines: one child process family for each replica, from its command line to the last byte that it
leaves.

Other rooms use ``host`` (what a worker's engines live on), ``messages`` (what a replica is told and says)
and ``replica.actor`` (the actor that keeps one). The sub-rooms: ``backends`` know the engine programs,
``replica`` knows the life of one replica, ``ownership`` sees that no engine outlives its owner, ``warm``
forks engines from a process that has imported everything, ``machine`` shares out GPUs, cores and room for
logs, ``installs`` finds and makes environments that have an engine in them.
"""
