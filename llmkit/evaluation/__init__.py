"""Metrics, statistics, gates and comparisons; handed callables, never a model."""
