"""What the bytes of requests and answers say, and the changes that are made to them. All of it is pure.

Nothing here decodes more than it needs: a body is mostly a conversation, which only the engine has to read.
"""
