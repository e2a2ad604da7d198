"""What is asked, of which model, and when. Others use ``LoadRequest`` and what makes them. Pure."""
