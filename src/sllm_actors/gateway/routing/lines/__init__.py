"""What the balancer keeps of one deployment: its places, who waits for one, and how one is chosen. Pure."""
