"""What a gateway knows of the cluster, and keeps: beyond a restart of its actor, and some of it on disk.

``memory.Memory`` holds all of it. ``knowledge`` is what the gateway was told of deployments, workers and
replicas, ``poison`` which requests engines died of; ``snapshot_file`` is the file from which a gateway begins
that starts while the head is away, and ``saving`` decides when it is written.
"""
