"""What only a machine with a GPU shows: starts, sleep and wake with real GPU memory, and who holds it."""
