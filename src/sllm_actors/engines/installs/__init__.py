"""Environments that have an engine in them: found (``interpreters``), or made on request
(``environments``).
"""
