"""The options that several commands share, each with what holds where it is not given."""
