"""The processes of a cluster: one module for each role, and the only place that wires the rooms together.

``head``, ``worker`` and ``gateway`` build the supervision tree of their role on what every ``node`` has;
``process`` runs one of them until it is told to stop. ``launcher`` is the parent that starts them.
"""
