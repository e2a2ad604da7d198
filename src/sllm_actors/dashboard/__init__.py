"""The cluster's web page. Nothing is here yet."""
