"""What answers requests: an exported model and a web server around it, without torch or lightning."""
