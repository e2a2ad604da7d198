"""What the head costs: its real actor and codec in a process of its own, with a simulated fleet in another.

``adapter`` alone knows the head's messages and actor. ``head`` is the head's process, ``wire`` what joins the
two processes, ``fleet`` the simulated workers and gateways, ``scenario`` what happens to them.
"""
