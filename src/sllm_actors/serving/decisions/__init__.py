"""What should run where: pure functions from the head's picture of the cluster to what is to be done."""
