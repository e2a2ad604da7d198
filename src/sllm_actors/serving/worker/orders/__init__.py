"""What a worker does about the orders of the head. Pure.

``assignments.Assignments`` takes orders, checks and ends of replicas, and returns ``effects``, which the
worker's actor carries out.
"""
