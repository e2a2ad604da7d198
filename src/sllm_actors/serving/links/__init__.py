"""What an actor keeps of its links: which nodes are there, and which workers obey another head."""
