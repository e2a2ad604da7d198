"""``python -m sllm_actors`` is ``sllm``."""

from .cli import main

if __name__ == "__main__":
    main()
