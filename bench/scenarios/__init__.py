"""What happens to requests in a cluster with real engines: each module is one benchmark."""
