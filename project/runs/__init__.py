"""A run on disk: reading, writing, resuming, and atomic checkpoint files."""
