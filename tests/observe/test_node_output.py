"""What a node says at the terminal that it was started from steers nothing, whoever wrote a part of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NODE = """
import logging, sys
from pathlib import Path
import structlog
from sllm_actors.observe import terminal
from sllm_actors.observe.logs import configure_logs

evil = "evil\\x1b]0;owned\\x07\\x1b[31m\\u202e"
configure_logs(Path(sys.argv[1]), node="n" + evil)
structlog.get_logger().warning("engine.ended" + evil, reason=evil, listed=[evil])
logging.getLogger("other").warning("%s says", evil)
terminal.announce("joined " + evil)
terminal.warn("error: " + evil)
"""


def test_neither_logs_nor_announcements_steer_the_terminal(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", NODE, str(tmp_path / "log")], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "joined evil\n"
    assert "reason=evil\n" in ended.stderr
    assert "evil says" in ended.stderr
    assert "error: evil\n" in ended.stderr
    assert not {"\x1b", "\x07", "\u202e"} & set(ended.stderr)
    assert (tmp_path / "log").read_text().count("owned") >= 4  # the file is whole: JSON escapes
