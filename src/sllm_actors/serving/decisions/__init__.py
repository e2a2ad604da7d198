"""What should run where: pure functions from what the head knows of the cluster to orders for workers."""
