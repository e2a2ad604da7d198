"""Making room for deployments that find none: which replicas of others go, and who gets what they leave.

Others use ``evictor``, which chooses, and ``making_room``, which carries that out.
"""
