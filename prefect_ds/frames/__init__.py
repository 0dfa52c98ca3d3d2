"""Frames as tables of what every file type can hold, and back."""
