"""Public weights: folders as Hugging Face lays them, and GGUF files, as networks and tokenizers of this project."""
