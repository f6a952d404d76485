"""A run on disk: read, write, resume, and checkpoint files that survive."""
