"""``python -m sllm_actors`` is ``sllm``."""

from sllm_actors.cli import main

if __name__ == "__main__":
    main()
