"""The life of one replica: a pure state machine, the actor around it, and how its engine is watched.

A worker starts an ``actor.ReplicaActor``. It feeds ``events`` to the state machine in ``lifecycle`` and
carries out the effects. ``engine_life`` is one engine life from start to end. ``engine_watch`` watches an
engine that runs, by the health checks in ``readiness`` and ``progress``; ``server_watch`` watches a server
that somebody else runs. Tunnels connect to the engine through ``engine_socket``.
"""
