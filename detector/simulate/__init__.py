"""simulate: procedural street scenes and the spinning LiDARs that scan them."""
