"""More models than room on real engines: sllm beside a proxy that swaps first come, first served."""
