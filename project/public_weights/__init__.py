"""Public weights: reading of Hugging Face folders and GGUF files as networks and tokenizers of this project."""
