"""Everything but inference over HTTP: models, health, and the control of deployments and instances."""
