"""Every artifact and where it came from: references, atomic publishing, lineage, verification."""
