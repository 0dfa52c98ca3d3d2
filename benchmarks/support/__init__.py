"""What the suites share: frames, rivals, clusters, and the way to measure."""
