"""llama.cpp's own server on a port of loopback: ``python bench/peers/llamacpp_http.py FILE NAME [PORT]``.

Without a port it takes the one in the variable PORT, which is how Pylet tells its instances.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

PROGRAM = (
    Path(__file__).resolve().parents[2] / "src/sllm_actors/engines/backends" / "llamacpp_server.py"
)  # what sllm starts, too

SETTINGS = {"n_ctx": 8192, "n_parallel": 4, "endpoint_metrics": True, "fit_params": False}


def main() -> None:
    """Become the server."""
    file, name, *rest = sys.argv[1:]
    port = int(rest[0] if rest else os.environ["PORT"])
    launch = {
        "model": file,
        "alias": name,
        "socket": "127.0.0.1",
        "parameters": {**SETTINGS, "port": port, "cpuparams.n_threads": max(1, (os.cpu_count() or 2) // 2)},
    }
    os.execv(sys.executable, [sys.executable, str(PROGRAM), json.dumps(launch)])  # noqa: S606


if __name__ == "__main__":
    main()
