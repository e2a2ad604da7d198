"""The load generator under ``sllm bench serve``: load on any OpenAI-compatible address, and what came of it.

It knows nothing of clusters and gateways. ``work`` is what is asked and when, ``figures`` is what the answers
add up to; both are pure. ``client`` sends the requests. Others use ``Plan``, ``Generator`` and ``Figures``.
"""
