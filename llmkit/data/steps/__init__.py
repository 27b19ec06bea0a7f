"""What is done to one document, and what tells it from others; a file or folder for each step."""
