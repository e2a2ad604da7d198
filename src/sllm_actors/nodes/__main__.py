"""``python -m sllm_actors.nodes``: what the launcher starts; not for people."""

from __future__ import annotations

import sys

from .process import main

sys.exit(main())
