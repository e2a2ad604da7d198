"""The control plane in a simulation: real actors of head, workers and gateways, over played machines."""
