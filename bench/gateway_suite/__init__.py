"""What a gateway costs: ours and its peers, in turns, before the same engine that does nothing.

``upstream`` is that engine; ``load`` is the program that asks, with ``closed_loop`` and ``open_streams``;
``ours`` starts our cluster, ``systems`` everybody; ``suite`` takes the turns, ``measures`` judges.
"""
