"""Planning one deployment at a time: how many replicas, of which revision, where, and the orders for that.

``scaling`` says how many there should be, ``rollout`` what is to start and to end for that, and ``planner``
carries it out by ``ordering``; ``asked`` is what people want besides.
"""
