"""The HTTP client that sends the load: connections, their pool, and an alarm clock for the next request."""
