"""Split computing: the first layers of the receiver's model run at the edge, or something lighter in their place."""
