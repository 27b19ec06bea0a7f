"""The command line: flags from configs, consoles, and the edge where errors become exit codes."""
