"""How fast preprocessing is: MB/s of one core for each step, and end to end, beside datatrove on the same text.

Run from the repository's root:

    python benchmarks/preprocess.py                      our steps, and the whole command with 1 and 2 workers
    python benchmarks/preprocess.py --peer PYTHON        and datatrove, by the Python of an environment that has it
                                                         (pip install 'datatrove[io,processing]' spacy)
    python benchmarks/preprocess.py --million            near-deduplication of a million short documents
    python benchmarks/preprocess.py --memory             peak memory of a small and of a ten times larger input

The text is the prose of ../shared/data where it is there, and else the standard library's own sources (docstrings and
code), one JSON record a document. Both sides read the same file, and take turns in one run. MB are 10^6 bytes of UTF-8.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from llmkit.config.sections import CleanOptions, LanguageOptions, PrivacyOptions, QualityOptions
from llmkit.data.skew import count_terms
from llmkit.data.steps.clean import clean
from llmkit.data.steps.decontamination.lookup import EvalGrams
from llmkit.data.steps.dedup import sketch
from llmkit.data.steps.language import LanguageStep
from llmkit.data.steps.privacy.step import PrivacyStep
from llmkit.data.steps.quality.rules import QualityStep
from llmkit.text.document import Document

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
PEER = Path(__file__).with_name("preprocess_peer.py")
ROUNDS = 3
RULES = ["gopher_quality", "gopher_repetition", "c4", "fineweb"]
SHARED_STEPS = [*(word for rule in RULES for word in ("--rules", rule)), "--pii", "replace", "--tokenizer", "none"]
EVERYTHING = [*SHARED_STEPS, "--repeated-lines", "50", "--languages", "en"]


def main() -> None:
    """Measure what the arguments ask for, and print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="the Python that has datatrove")
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--documents", type=int, default=1_000_000, help="of --million")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if arguments.million:
            million(place, arguments.documents)
        elif arguments.memory:
            memory(place)
        else:
            compare(place, arguments.peer)


def compare(place: Path, peer: str | None) -> None:
    """Each step by itself and the whole, ours and the peer's."""
    file, evaluation = place / "prose.jsonl", place / "evaluation.jsonl"
    texts = list(prose())
    size = write(file, texts)
    write(evaluation, list(questions()))
    print(f"{len(texts):,} documents, {size / 1e6:.1f} MB of prose\n")
    theirs = peer_steps(peer, file) if peer else {}
    print("| step | MB/s a core | datatrove | ratio |\n| --- | ---: | ---: | ---: |")
    for name, step in steps(evaluation).items():
        rate = speed(step, texts, size)
        beside = theirs.get(name)
        print(f"| {name} | {rate:.1f} | {beside or '-'} | {f'{rate / beside:.0f}x' if beside else '-'} |")
    # The start of Python and the loading of models take 1.3 s; so the same prose once more, in documents of two.
    both = place / "both.jsonl"
    total = write(both, [*texts, *("\n\n".join(texts[i : i + 2]) for i in range(0, len(texts), 2))])
    for workers in (1, 2):
        seconds, peak = whole(both, [*EVERYTHING, "--against", str(evaluation), "--workers", str(workers)])
        print(
            f"| all steps, the whole command on {total / 1e6:.0f} MB, {workers} worker(s) | "
            f"{total / 1e6 / seconds:.2f} in all, {seconds:.1f} s, {peak / 2**20:.0f} MiB | | |"
        )
    if peer:
        ours, peak = whole(file, [*SHARED_STEPS, "--no-identify", "--workers", "1"])
        beside, their_peak = whole_peer(peer, file, place / "peer")
        print(
            f"| the steps both have, the whole command, 1 worker | {size / 1e6 / ours:.2f} ({peak / 2**20:.0f} MiB) | "
            f"{size / 1e6 / beside:.2f} ({their_peak / 2**20:.0f} MiB) | {beside / ours:.1f}x |"
        )


def steps(evaluation: Path) -> dict[str, Callable[[str], object]]:
    """Our steps as functions of a text."""
    grams = EvalGrams.build(
        {"evaluation": ((str(n), json.loads(line)["text"]) for n, line in enumerate(evaluation.open()))}
    )
    cleaning = CleanOptions()
    language, privacy = LanguageStep(LanguageOptions()), PrivacyStep(PrivacyOptions(pii="replace"))
    quality = {name: QualityStep(QualityOptions(rules=(name,))) for name in RULES}

    def on(step: Callable[[Document], object]) -> Callable[[str], object]:
        return lambda text: step(Document("/x", text, meta={"language": "en"}))

    return {
        "normalise": on(lambda document: clean(document, cleaning)),
        "language": on(language),
        **{name: on(step) for name, step in quality.items()},
        "privacy": on(privacy),
        "minhash signature": sketch,
        "decontaminate": grams.found_in,
        "term counts": count_terms,
    }


def speed(step: Callable[[str], object], texts: Sequence[str], size: int) -> float:
    """MB/s, the median of some rounds; the first call, which loads models, is not counted."""
    step(texts[0])
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for text in texts:
            step(text)
        seconds.append(time.perf_counter() - began)
    return size / 1e6 / median(seconds)


def whole(file: Path, options: Sequence[str]) -> tuple[float, int]:
    """Seconds of `llmkit preprocess` from start to end, and the peak memory of all its processes in bytes."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "llmkit", "preprocess", str(file), "--name", "bench", "--quiet", *options]
        return watched(command, {**os.environ, "LLMKIT_HOME": f"{home}/home"})


def watched(command: Sequence[str], environment: dict[str, str]) -> tuple[float, int]:
    """Run a command; its seconds, and the largest sum of proportional set sizes of its processes."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
    watcher.start()
    _, errors = process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{errors.decode()}")
    return seconds, peak[0]


def _watch(pid: int, peak: list[int]) -> None:
    while psutil.pid_exists(pid):
        total = 0
        try:
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        except psutil.Error:
            return
        for member in family:
            try:
                # Without what is mapped from files: the system takes those pages back when it needs them.
                info: Any = member.memory_info()
                total += info.rss - info.shared
            except psutil.Error:
                continue
        peak[0] = max(peak[0], total)
        time.sleep(0.1)


def peer_steps(peer: str, file: Path) -> dict[str, float]:
    """MB/s of datatrove's steps, measured by its own Python."""
    done = subprocess.run([peer, str(PEER), "steps", str(file)], check=True, capture_output=True, text=True)
    rates: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return rates


def whole_peer(peer: str, file: Path, place: Path) -> tuple[float, int]:
    place.mkdir()
    return watched([peer, str(PEER), "whole", str(file), str(place)], dict(os.environ))


def million(place: Path, count: int) -> None:
    """Near-deduplication of many short generated documents, a tenth of them near or exact duplicates."""
    file = place / "million.jsonl"
    rng = random.Random(0)
    vocabulary = [f"{''.join(rng.choices('abcdefghijklmnopqrstuvwxyz', k=rng.randint(3, 9)))}" for _ in range(20_000)]
    recent: list[str] = []
    with file.open("w") as out:
        for number in range(count):
            if recent and number % 10 == 0:
                words = rng.choice(recent).split()
                if number % 20:
                    words[rng.randrange(len(words))] = rng.choice(vocabulary)
                text = " ".join(words)
            else:
                text = " ".join(rng.choices(vocabulary, k=rng.randint(40, 60)))
                recent = [*recent[-999:], text]
            out.write(json.dumps({"text": text}) + "\n")
    size = file.stat().st_size
    options = ["--tokenizer", "none", "--no-identify", "--pii", "off", "--workers", "2"]
    seconds, peak = whole(file, options)
    print(f"{count:,} documents, {size / 1e6:.0f} MB: {seconds:.0f} s with 2 workers, peak {peak / 2**20:.0f} MiB")


def memory(place: Path) -> None:
    """Peak memory of an input and of one ten times as large."""
    texts = list(prose())
    for times in (2, 20):
        file = place / f"{times}.jsonl"
        with file.open("w") as out:
            for number in range(times):
                for text in texts:
                    out.write(json.dumps({"text": f"{number} {text[::-1] if number % 2 else text} {number}"}) + "\n")
        seconds, peak = whole(file, ["--tokenizer", "none", "--workers", "2"])
        print(f"{file.stat().st_size / 1e6:.0f} MB: {seconds:.0f} s, peak {peak / 2**20:.0f} MiB")


def write(file: Path, texts: Sequence[str]) -> int:
    """Write records; the size of their texts in bytes."""
    with file.open("w", encoding="utf-8") as out:
        for number, text in enumerate(texts):
            out.write(json.dumps({"id": str(number), "text": text}, ensure_ascii=False) + "\n")
    return sum(len(text.encode()) for text in texts)


def prose() -> Iterator[str]:
    """Documents of English prose, or of the standard library where there is none."""
    if not SHARED.is_dir():
        for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))[:1500]:
            text = path.read_text(encoding="utf-8", errors="replace")
            if len(text) > 200:
                yield text
        return
    with gzip.open(SHARED / "scifact" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            yield f"{record['title']}\n{record['text']}"
    for name in ("gutenberg/1342-0.txt", "shakespeare/input.txt"):
        yield from pieces((SHARED / name).read_text(encoding="utf-8"))
    for path in sorted((SHARED / "wikitext2").glob("*")):
        yield from pieces(path.read_text(encoding="utf-8"))
    for article in json.loads((SHARED / "squad" / "squad2_16_articles.json").read_text())["data"]:
        yield "\n\n".join(paragraph["context"] for paragraph in article["paragraphs"])


def questions() -> Iterator[str]:
    """An evaluation set to keep out."""
    file = SHARED / "scifact" / "queries.jsonl"
    if file.exists():
        for line in file.open(encoding="utf-8"):
            yield json.loads(line)["text"]
    else:
        yield from (f"question number {number} about nothing that anybody would ever write" for number in range(300))


def pieces(text: str, size: int = 6000) -> Iterator[str]:
    """A long text in documents of some thousand characters, cut at line ends."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + size)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end


if __name__ == "__main__":
    main()
