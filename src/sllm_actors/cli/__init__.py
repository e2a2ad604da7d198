"""The command line ``sllm``. Commands that ask a cluster something use the HTTP interface of a gateway."""

from .app import main as main
