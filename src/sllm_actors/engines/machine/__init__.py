"""What engines share of their machine: GPUs, CPU cores, and disk space for logs."""
