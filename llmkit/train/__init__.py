"""One training loop and what it stands on: batches, schedules, precision, checkpoints, processes."""
