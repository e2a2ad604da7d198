"""The indices of the picture, which spare it walks over all nodes and deployments. Pure."""
