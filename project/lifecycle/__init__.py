"""What happens to a finished run: one stage a file."""
