"""What each kind of engine needs: settings, command line, environment, readiness, sleep.

``registry`` lists the backends. Each is a ``backend.Backend``, which turns a deployment's settings into a
``backend.Launch``. A new kind of engine is one module here and one line in the registry.
"""
