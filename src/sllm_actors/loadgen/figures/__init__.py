"""What the answers add up to. Others use ``Outcome``, ``Figures`` and ``Limits``. Pure."""
