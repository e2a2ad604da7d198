"""One module for each command of ``sllm``; ``cli.app`` puts them together."""
