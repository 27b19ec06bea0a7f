"""From files to clean, deduplicated, split documents, a tokenizer and memory-mapped tokens."""
