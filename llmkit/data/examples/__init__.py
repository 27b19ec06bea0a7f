"""Training data for fine-tuning: the ways in which people write examples, checked row by row and unified."""

from llmkit.data.examples.chats import ExampleSet, OnBad, read_examples
from llmkit.data.examples.reading import detect_schema, read_training_rows

__all__ = ["ExampleSet", "OnBad", "detect_schema", "read_examples", "read_training_rows"]
