"""What the head keeps on disk, so that a restart, and most losses of its disk, lose no deployment.

``store.Store`` is the whole of it: one SQL database (``schema``, ``migrations``, ``rows``, ``applying``), and
``deployments_file``, a readable copy for when the database is lost. ``records`` are the plain values that it
holds, ``writes`` those that change it. The head's actor writes through ``writer``, in threads.
"""
