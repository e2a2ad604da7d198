"""How a replica is chosen among those that have room: one module for each policy, all pure."""
