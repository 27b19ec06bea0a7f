"""Personal data and secrets in text: finding them by rules and check digits (or Presidio), counting, replacing."""
