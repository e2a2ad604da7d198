"""The worker's actor: it runs the replicas that the head orders, and reports them to head and gateways.

``actor`` is the shell; beside it ``running`` (the replicas' actors), ``heads`` (whom it obeys), ``machine``
(what the worker has), ``feed`` (what others hear of replicas), ``questions`` and ``leaving`` (how it ends).
``runtime`` is what it needs of its node. It decides in pure modules: ``orders`` (what follows from orders,
checks and ends), ``declined`` (what it could not run, until something changes), ``withdrawals`` (which
gateways have let go of a replica), ``pace`` (which report waits), ``stock`` (which inventory is worth
telling), ``crashes`` and ``tiers``. ``epoch`` keeps on disk which head was obeyed last; ``replicas`` is the
table that tunnels read; ``inventory`` reads the machine.
"""
