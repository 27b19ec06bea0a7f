"""Which documents contain the text of an evaluation set: reading the sets, their n-grams, looking them up."""
