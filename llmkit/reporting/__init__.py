"""How work tells what it is doing: a protocol that stages are handed, and what can be shown through it."""
