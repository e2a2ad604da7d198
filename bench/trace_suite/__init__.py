"""Policies for many models on few GPUs, played on virtual time.

``profile`` is the machine and what it costs to start a model; ``workload`` is what clients ask, made by
``generator`` or read by ``azure`` and ``servegen``. ``simulation`` plays one workload against one policy on
a ``cluster``. The policies of others are in ``policies``; ours is ``ours``: the head's own picture, with
workers and a gateway played around it. ``sweep`` plays all, ``outcome`` has the figures, ``wins`` compares
them, ``report`` and ``plot`` show them.
"""
