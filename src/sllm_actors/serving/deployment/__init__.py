"""Deployments: their schema (``spec``), and reading them from JSON documents (``document``)."""
