"""An exported model and a web server for it; imports neither torch nor lightning."""
