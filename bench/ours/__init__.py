"""The work of the actor benchmark on sllm_actors; run as ``python -m bench.ours LOOP GROUP SCALE``."""
