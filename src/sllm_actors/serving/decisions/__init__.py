"""Policies of the head, as plain functions and small state machines: no I/O, no clock, no randomness.

``scaling`` decides how many replicas a deployment should have, from the load that ``load`` averages. The
picture of the cluster carries out what they decide, and a simulation of traces runs the same code.
"""
