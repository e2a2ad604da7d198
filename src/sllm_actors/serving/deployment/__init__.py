"""What a person asks for: the schema of a deployment (``spec``), and the documents that it is read from."""
