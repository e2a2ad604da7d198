"""``python -m sllm_actors.nodes``: the process of one node, started by the launcher and not by people."""

from __future__ import annotations

import logging
import os

from sllm_actors.observe import terminal

from .process import main

status = main()
logging.shutdown()
terminal.flush()
os._exit(status)  # a normal exit waits for all threads, and one that waits for a dead disk never ends
