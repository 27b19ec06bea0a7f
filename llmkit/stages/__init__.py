"""One file per command: its Config on top, run(cfg, ctx) below."""
