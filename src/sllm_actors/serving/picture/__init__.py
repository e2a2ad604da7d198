"""The head's picture of the cluster: one pure state machine, without I/O, clock or randomness.

``Picture`` takes events and returns effects. It knows deployments with their revisions, nodes, replicas, and
how much room workers have; each by indices, so that an event costs what it touches. Others use ``picture``,
``events``, ``effects``, and the records ``deployment``, ``node`` and ``replica`` to read them.
"""
