"""Model files on a machine: where they come from, what is in a folder of them, and room for another one.

A worker keeps its models in a ``store.ModelStore``, which brings what an engine needs (``hub`` for model
hubs, ``demo_model`` for models that packages carry) and removes what nobody uses (``quota``, ``eviction``).
Backends ask ``checkpoint`` and ``gguf`` what a path holds; ``prefetch`` reads weights into the page cache
while an engine imports its code. Whatever is wrong with a source is an ``errors.SourceProblem``.
"""
