"""Frames as tables that every file type can hold, and back."""
