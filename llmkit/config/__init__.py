"""Options defined once; their precedence, origins, recipes and schema."""
