"""What the actor benchmark measures, on whom, and what it says about it."""
