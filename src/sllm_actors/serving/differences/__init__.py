"""Streams of differences: one actor owns a table, others follow it and end up with the same one.

The owner numbers what changes (``publisher``), a follower applies it in order and asks for the whole, in
pages, whenever it may have missed something (``follower``). ``messages`` are what goes between them: a stream
declares its own there and registers them in its room's catalog. ``feed`` and ``subscription`` are what the
actors of both sides hold. ``docs/architecture.md`` says what a stream promises.
"""
