"""Chunks, embeddings, the SQLite store that is the truth, and the search over it."""
