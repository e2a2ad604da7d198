"""The life of one replica: a pure state machine, the actor around it, and how its engine is watched.

``actor.ReplicaActor`` is what a worker starts. ``lifecycle`` decides, in the words of ``events``;
``engine_life`` is one attempt from start to end; ``readiness`` and ``progress`` are the checks of health;
``engine_socket`` is the way in for tunnels.
"""
