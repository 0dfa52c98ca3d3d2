"""What a checkpoint is to the rest: its identity, the reference to it, the cache of its data."""
