"""A log whose disk is full loses lines, says so once, and goes on when there is room again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.small_disk import small_disk

LOGGING = """
import logging, sys
from pathlib import Path
from sllm_actors.observe import terminal
from sllm_actors.observe.logs import configure_logs

configure_logs(Path(sys.argv[1]), node="w")
log = logging.getLogger("test")
for line in sys.stdin:
    log.info(line.strip() + "x" * 5000)
    print("logged", flush=True)
terminal.flush()
"""


def test_a_full_disk_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk.folder / "node.log"
        with subprocess.Popen(
            [sys.executable, "-c", LOGGING, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None

            def say(text: str) -> None:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(f"{text}\n")
                assert process.stdout.readline() == "logged\n"

            say("first")
            disk.fill()
            say("lost")
            say("lost")
            disk.free()
            say("again")
            written = path.read_text()
            disk.fill()
            say("lost")
            process.stdin.close()
            said = process.stderr.read()
        assert "first" in written
        assert "again" in written
        sentence = f"the log {path} cannot be written, and loses lines: No space left on device"
        assert said.count(sentence) == 2
        assert "Traceback" not in said
        assert process.returncode == 0
