"""What should run, where, and how many replicas of it.

The head's actor is ``controller``, a thin shell around the pure ``picture``; the worker's is in ``worker``.
``messages`` and ``streams`` say what head, workers and gateways tell each other, ``deployment`` what people
may deploy, ``decisions`` by what rules the head decides, ``store`` what it keeps on disk, ``views`` what it
shows.
"""
