"""Proof from outside: other people's clients and load generators at a gateway before two real engines."""
