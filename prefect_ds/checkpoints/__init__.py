"""Checkpoints as the rest sees them: identity, reference, the cache of their data."""
