"""What becomes of an engine's answer on its way to the client, as ``relays.relay_for`` chooses. Pure."""
