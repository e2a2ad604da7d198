"""What the head costs: its real actor and codec in a process of its own, with a simulated fleet in another.

``head`` is the head's process, with the actor of ``timed_head``; ``wire`` joins it to the fleet's. There
``adapter`` alone knows the head's messages; ``fleet`` are the simulated workers and gateways, ``scenario`` is
what happens to them.
"""
