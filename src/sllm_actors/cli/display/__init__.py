"""What commands show to a person: tables, ages, and short sentences about deployments.

``tables`` prints those of deployments, instances, nodes and models; ``text_table`` makes any other.
"""
