"""Python environments that contain an engine: ``interpreters`` finds them, ``environments`` makes them."""
