"""What every library shares about text: documents, spans, line and page maps, scripts, sentences, n-grams."""
