"""How long a model takes from ``sllm deploy`` to its first token, through a whole real cluster."""
