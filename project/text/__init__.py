"""Text as numbers, without torch: tokenizers, corpora and n-gram models."""
