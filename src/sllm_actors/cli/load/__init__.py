"""Between the options of ``sllm bench serve`` and the load generator: what is sent, where to, and what is
written."""
