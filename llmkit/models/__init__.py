"""Model families, and loading a base with its adapter and tokenizer."""
