"""Where checkpoints lie: the manifest, the commit, and the file systems below."""
