"""What engines share of their machine: GPUs, CPU cores, and the room that their logs take."""
