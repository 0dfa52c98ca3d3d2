"""The questions, the full run, and the page that shows its answers."""
