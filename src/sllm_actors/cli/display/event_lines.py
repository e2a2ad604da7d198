"""Entries of the journal, each as a line. Pure."""

from __future__ import annotations

from datetime import datetime

from sllm_actors.cli.answers.events import EventDocument
from sllm_actors.observe.terminal_text import one_line

_TIME, _KIND, _SUBJECT = 19, 22, 24
"""Characters of the columns; what is longer moves the rest of its line."""


def title() -> str:
    """Return the line above the others."""
    return f"{'TIME':<{_TIME}}  {'EVENT':<{_KIND}}  {'SUBJECT':<{_SUBJECT}}  WHAT AND WHY"


def event_line(event: EventDocument) -> str:
    """Return an entry as one line; its time is that of this machine's zone."""
    when = datetime.fromtimestamp(event.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    columns = f"{when:<{_TIME}}  {one_line(event.kind):<{_KIND}}  {one_line(event.subject):<{_SUBJECT}}"
    return f"{columns}  {one_line(event.sentence)}"
