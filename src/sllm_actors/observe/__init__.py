"""What processes say of themselves: logs, names in ``ps``, and lines for the person at the terminal.

``redaction`` keeps secrets out of all of it, and ``terminal_text`` keeps out what could steer a terminal.
"""
