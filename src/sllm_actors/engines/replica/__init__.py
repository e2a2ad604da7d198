"""The life of one replica: a pure state machine, the actor around it, and how its engine is watched.

A worker starts an ``actor.ReplicaActor``. It feeds ``events`` to the state machine in ``lifecycle`` and
carries out the effects. ``engine_life`` is one engine life from start to end; ``readiness`` and ``progress``
are the health checks of an engine, ``server_watch`` those of a server that somebody else runs. Tunnels
connect to the engine through ``engine_socket``.
"""
