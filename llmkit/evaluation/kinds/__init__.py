"""One module per kind of task: its items, and the pure function that evaluates them through a callable."""
