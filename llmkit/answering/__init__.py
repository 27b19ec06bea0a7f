"""From a question to a checked, quoted answer or an honest refusal; shared by ask, eval and serve."""
