"""Making room for deployments that find none: which replicas of others go, and who gets what they leave.

``contenders`` are the deployments that wait for room, ``candidates`` the replicas that may make way, and
``claims`` the room that is kept. Others use ``evictor``, which chooses, and ``making_room``, which carries
that out.
"""
