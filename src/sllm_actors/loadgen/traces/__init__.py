"""Traces of real services, told apart by their first line. Others use ``read_trace`` and ``TraceProblem``."""
