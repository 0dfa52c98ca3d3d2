"""The types of file that keep what a task returns, where that is no frame."""
