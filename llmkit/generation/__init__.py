"""Prompts, local and remote generation, and the extraction of quotes without any model."""
