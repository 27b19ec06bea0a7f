"""What was asked and answered on this machine: one SQLite file beside the registry, never part of an artifact."""
