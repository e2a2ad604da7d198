"""What replicas take of their workers, and what is free there: the head's ledger.

Others use ``need`` (what one replica takes, and what a worker has free) and ``fitting`` (would one fit).
"""
