"""Models made ready for other programs: adapters merged into their bases, and other formats of the weights."""
