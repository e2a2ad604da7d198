"""What people and scripts are shown of the cluster, out of the head's picture. Pure.

``answer`` answers the questions of ``messages``, a page at a time: it looks only at what it shows. The shapes
of the answers are in ``shapes``; ``parameters`` reads a question from the query of a URL.
"""
