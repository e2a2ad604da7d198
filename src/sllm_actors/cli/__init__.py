"""The command line ``sllm``: one file per command, over the REST interface of a gateway."""

from .app import main as main
