"""Settings that every test runs under: offline, and considerate of the machine's other processes."""

from __future__ import annotations

import os
import signal

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# As in llmkit/__main__.py: tests run beside each other, and threads that spin take the cores from one another.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts us in the background hands Ctrl-C down as ignored; the tests of it send it themselves.
    signal.signal(signal.SIGINT, signal.default_int_handler)
