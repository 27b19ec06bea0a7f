"""How fast an index is built, beside sentence-transformers with Chroma, and how fast an unchanged one is seen to be so.

Run from the repository's root: `python benchmarks/index.py [FOLDER] [--chunks N] [--rounds N] [--files N]`.

FOLDER (else the first files of the standard library that give about N chunks) is indexed by `llmkit index`, a whole
command from the start of Python to the published version: it finds, reads and cuts the files, embeds, measures the
language and the threshold of answers, and writes SQLite, full text and Chroma. The peer is handed the very same chunk
texts, and does nothing but embed them and add them to a collection (index_peer.py). Both run in turn, in processes of
their own, `--rounds` times; chunks per second are by whole processes. Bar: twice the peer's.

Then `--files` short files are indexed once, and again unchanged, as a whole command. Bar: 2 s.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from side_by_side import hardware, watched

from llmkit.retrieval.store import View

BAR, UNCHANGED_BAR = 2.0, 2.0
BYTES_PER_CHUNK = 700
"""Of Python source: to choose as many files as give about the chunks that are asked for."""
HERE = Path(__file__).resolve().parent


class Ran(NamedTuple):
    seconds: float
    peak: float
    said: dict[str, float]


def chosen(folder: Path, chunks: int) -> Path:
    """Copies of files of the standard library, in the order of their names."""
    left = chunks * BYTES_PER_CHUNK
    folder.mkdir()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        shutil.copy(path, folder)
        left -= path.stat().st_size
        if left <= 0:
            break
    return folder


def ours(docs: Path, place: Path) -> Ran:
    """`llmkit index` into a new registry at `place`."""
    os.environ["LLMKIT_HOME"] = str(place)
    started = time.perf_counter()
    out, peak = watched([sys.executable, "-m", "llmkit", "index", str(docs), "--name", "bench", "--json"], HERE.parent)
    seconds = time.perf_counter() - started
    return Ran(seconds, peak, {"reused": float(json.loads(out)["reused"]), "inside": json.loads(out)["seconds"]})


def peer(texts: Path, place: Path) -> Ran:
    started = time.perf_counter()
    out, peak = watched([sys.executable, str(HERE / "index_peer.py"), str(texts), str(place)], HERE.parent)
    return Ran(time.perf_counter() - started, peak, json.loads(out.splitlines()[-1]))


def chunk_texts(registry: Path, file: Path) -> int:
    """Writes what the encoder read of every chunk; how many there are."""
    view = View(registry / "stores" / "bench")
    texts = [chunk.embedded for chunk in view.sample(10**9, 0)]
    view.close()
    file.write_text("".join(json.dumps(text) + "\n" for text in texts), "utf-8")
    return len(texts)


def side_by_side(docs: Path, rounds: int, work: Path) -> bool:
    ran: dict[str, list[Ran]] = {"llmkit index": [], "sentence-transformers + Chroma": []}
    count = 0
    for number in range(rounds):
        home = work / f"home{number}"
        ran["llmkit index"].append(ours(docs, home))
        count = count or chunk_texts(home, work / "texts.jsonl")
        ran["sentence-transformers + Chroma"].append(peer(work / "texts.jsonl", work / f"chroma{number}"))
    print(f"{count:,} chunks of {sum(path.is_file() for path in docs.rglob('*'))} files, {rounds} rounds\n")
    speeds = {}
    for who, runs in ran.items():
        speeds[who] = statistics.median(count / each.seconds for each in runs)
        parts = "  ".join(
            f"{name} {statistics.median(each.said[name] for each in runs):.1f} s" for name in runs[0].said
        )
        peak = max(each.peak for each in runs)
        print(f"    {who:32} {speeds[who]:7.1f} chunks/s  {peak:6,.0f} MiB at the peak  ({parts})")
    pairs = zip(ran["llmkit index"], ran["sentence-transformers + Chroma"], strict=True)
    ratio = statistics.median(theirs.seconds / mine.seconds for mine, theirs in pairs)
    print(f"    ratio {ratio:.2f} (bar {BAR:.0f}): {'met' if ratio >= BAR else 'MISSED'}\n", flush=True)
    return ratio >= BAR


def unchanged(files: int, rounds: int, work: Path) -> bool:
    """An unchanged run over many files. Texts repeat, so that the first run is over soon: here the second counts."""
    docs = work / "many"
    docs.mkdir()
    for n in range(files):
        (docs / f"note{n:05}.md").write_text(f"# Note {n % 50}\n\nThe same few words stand in every note.\n", "utf-8")
    time.sleep(3)  # a file that was just written may change in the same tick of its clock, and is read again
    home = work / "many-home"
    first = ours(docs, home)
    again = [ours(docs, home) for _ in range(rounds)]
    seconds = statistics.median(each.seconds for each in again)
    same = all(each.said["reused"] for each in again)
    print(f"{files:,} files: {first.seconds:.1f} s the first time, {seconds:.2f} s unchanged")
    print(f"    bar {UNCHANGED_BAR:.0f} s: {'met' if seconds < UNCHANGED_BAR else 'MISSED'}", flush=True)
    if not same:
        print("    it was NOT seen to be unchanged")
    return same and seconds < UNCHANGED_BAR


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="documents to index")
    parser.add_argument("--chunks", type=int, default=3000, help="about as many, of the standard library (3000)")
    parser.add_argument("--rounds", type=int, default=3, help="3")
    parser.add_argument("--files", type=int, default=5000, help="files of the unchanged run (5000; 0: leave it out)")
    asked = parser.parse_args(words)
    print(hardware())
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        docs = asked.folder.resolve() if asked.folder else chosen(work / "docs", asked.chunks)
        met = [side_by_side(docs, asked.rounds, work)]
        if asked.files:
            met.append(unchanged(asked.files, asked.rounds, work))
    return 0 if all(met) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
