"""Lists, verifies and prunes the checkpoints of a folder or a flow."""
