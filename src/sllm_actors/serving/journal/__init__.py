"""What the head decided and why, for people: the kinds of entries, and the newest ones in memory.

``Effects.note`` of the picture is where entries come from; ``store.journal`` is where they are kept.
"""
