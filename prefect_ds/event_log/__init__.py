"""Events: one line of JSON for whatever happens to a task run or a checkpoint."""
