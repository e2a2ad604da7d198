"""Serve many large language models on a few GPU machines, as a system of supervised actors."""

__version__ = "0.1.0"
