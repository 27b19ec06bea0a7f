"""Settings that every test runs under: offline, and considerate of the machine's other processes."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# As in llmkit/__main__.py: tests run beside each other, and threads that spin take the cores from one another.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
