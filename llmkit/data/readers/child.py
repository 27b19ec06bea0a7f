"""The process in which `sandbox` has files parsed: reads a request, sends what the reader yields, and so on.

Started as `python -m llmkit.data.readers.child PARENT_PID`; requests and replies are pickles behind their length.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import struct
import sys
from pathlib import Path
from typing import BinaryIO

from llmkit.data.readers.base import Reader, ReadOptions, UnreadableError, parsing

LENGTH = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>

# What a message is: the first of its pair.
READY = "ready"
ITEM = "item"
END = "end"
REFUSED = "refused"
OUT_OF_MEMORY = "out_of_memory"


def send(stream: BinaryIO, message: object) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def main(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    _die_with(parent)
    requests, replies = _own_pipes()
    send(replies, (READY, None))
    while True:
        length = requests.read(LENGTH.size)
        if len(length) < LENGTH.size:
            return
        reader, path, media, options = pickle.loads(requests.read(LENGTH.unpack(length)[0]))  # noqa: S301
        _limit_memory(options.limits.memory_bytes)
        _answer(replies, reader, path, media, options)


def _answer(replies: BinaryIO, reader: Reader, path: Path, media: str, options: ReadOptions) -> None:
    final: tuple[str, object]
    try:
        with parsing("the file"):
            for item in reader(path, media, options):
                send(replies, (ITEM, item))
        final = (END, None)
    except BrokenPipeError:
        sys.exit()  # nobody listens any more
    except UnreadableError as error:
        final = (REFUSED, error.args)
    except OSError as error:
        final = (REFUSED, ("unreadable", error.strerror or "it cannot be read"))
    except MemoryError:
        final = (OUT_OF_MEMORY, None)
    send(replies, final)


def _own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to the parent, out of the reach of native libraries that print or read on the standard ones."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    return requests, replies


def _limit_memory(size: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    within = size if hard == resource.RLIM_INFINITY else min(size, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (within, hard))
    except (OSError, ValueError):
        return  # a system that has the limit in name only


def _die_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends; elsewhere, the closed pipe ends it after its file."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we asked
            os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
