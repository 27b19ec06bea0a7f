"""Heuristic rules of text quality: what is measured in a text, and the published thresholds it is held against."""
