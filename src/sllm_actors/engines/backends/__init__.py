"""What each kind of engine needs: settings, command line, environment, readiness, sleep.

``registry`` names the backends; each is a ``backend.Backend``, made of plain functions from a deployment's
settings to a ``backend.Launch``. A new engine is one module here and one line in the registry.
"""
