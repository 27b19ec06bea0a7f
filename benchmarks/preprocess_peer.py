"""datatrove's side of preprocess.py; runs in an environment of its own that has datatrove and spacy, not llmkit."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from pathlib import Path
from statistics import median

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import ParquetWriter

ROUNDS = 3
CONFIG = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)


def main() -> None:
    """`steps FILE` prints MB/s by step as JSON; `whole FILE FOLDER` runs the pipeline once."""
    if sys.argv[1] == "steps":
        steps(Path(sys.argv[2]))
    else:
        whole(Path(sys.argv[2]), Path(sys.argv[3]))


def steps(file: Path) -> None:
    texts = [json.loads(line)["text"] for line in file.open(encoding="utf-8")]
    size = sum(len(text.encode()) for text in texts)
    pii = PIIFormatter()
    signature = MinhashDedupSignature(output_folder=str(file.parent), config=CONFIG)
    work = {
        "gopher_quality": GopherQualityFilter().filter,
        "gopher_repetition": GopherRepetitionFilter().filter,
        "c4": C4QualityFilter().filter,
        "fineweb": FineWebQualityFilter().filter,
        "privacy": lambda document: pii.format(document.text),
        "minhash signature": lambda document: signature.get_signature(signature.get_shingles(document.text)),
    }
    rates = {}
    for name, step in work.items():
        seconds = []
        for _ in range(ROUNDS if name == "privacy" else 1):
            documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
            step(documents[0])
            began = time.perf_counter()
            for document in documents:
                step(document)
            seconds.append(time.perf_counter() - began)
        rates[name] = round(size / 1e6 / median(seconds), 2)
    print(json.dumps(rates))


def whole(file: Path, place: Path) -> None:
    filtered, hashes, buckets, clusters = (str(place / name) for name in ("filtered", "hashes", "buckets", "clusters"))
    reader = JsonlReader(str(file.parent), glob_pattern=file.name)
    filters = [GopherQualityFilter(), GopherRepetitionFilter(), C4QualityFilter(), FineWebQualityFilter()]
    stages = [
        [reader, *filters, PIIFormatter(), ParquetWriter(filtered)],
        [_parquet(filtered), MinhashDedupSignature(output_folder=hashes, config=CONFIG)],
        [MinhashDedupBuckets(input_folder=hashes, output_folder=buckets, config=CONFIG)],
        [MinhashDedupCluster(input_folder=buckets, output_folder=clusters, config=CONFIG)],
        [_parquet(filtered), MinhashDedupFilter(input_folder=clusters), ParquetWriter(str(place / "out"))],
    ]
    for number, stage in enumerate(stages):
        tasks = CONFIG.num_buckets if number == 2 else 1
        with contextlib.redirect_stdout(io.StringIO()):
            LocalPipelineExecutor(stage, tasks=tasks, workers=1, logging_dir=str(place / f"logs{number}")).run()


def _parquet(folder: str) -> object:
    from datatrove.pipeline.readers import ParquetReader

    return ParquetReader(folder)


if __name__ == "__main__":
    main()
