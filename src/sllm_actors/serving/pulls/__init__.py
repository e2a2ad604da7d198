"""Bringing the files of models to workers before anybody needs them.

A gateway asks the head which workers are meant (``plan``), and then those workers themselves, which bring
the files (``pulls``). So the head keeps nothing of a pull: a ``ticket`` says all of it, and any gateway can
use it.
"""
