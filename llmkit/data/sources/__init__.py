"""Where documents come from: files and folders, URLs, standard input, the Hub."""
