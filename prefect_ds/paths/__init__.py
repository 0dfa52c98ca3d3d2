"""Parts of path templates: their fields, the text of values, and its encoding."""
