"""How a frame becomes a file of some type, and comes back."""
