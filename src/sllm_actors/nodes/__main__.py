"""``python -m sllm_actors.nodes``: what the launcher starts; not for people."""

from __future__ import annotations

import logging
import os

from sllm_actors.observe import terminal

from .process import main

status = main()
logging.shutdown()
terminal.flush()
os._exit(status)  # a thread that waits for a disk may never end: nobody is to wait for it
