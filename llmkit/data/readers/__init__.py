"""One file per format; each turns bytes into documents that remember where they came from."""
