"""sentence-transformers and Chroma used plainly, for index.py: `python benchmarks/index_peer.py TEXTS FOLDER`.

TEXTS is JSON Lines, a chunk's text each. Everything is as the two libraries come: float32, batches of 32, a collection
with its defaults. Prints seconds as JSON: `load` (imports and the model), `encode`, `add`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main(texts: Path, folder: Path) -> None:
    start = time.perf_counter()
    import chromadb
    from sentence_transformers import SentenceTransformer

    from llmkit.retrieval.embed import find_encoder  # where all-MiniLM-L6-v2 lies; nothing else of llmkit is used

    model = SentenceTransformer(str(find_encoder(None).path), device="cpu")
    chunks = [json.loads(line) for line in texts.read_text("utf-8").splitlines()]
    loaded = time.perf_counter()
    vectors = model.encode(chunks, show_progress_bar=False)
    encoded = time.perf_counter()
    settings = chromadb.Settings(anonymized_telemetry=False)
    collection = chromadb.PersistentClient(str(folder), settings=settings).create_collection(
        "plain", embedding_function=None
    )
    for at in range(0, len(chunks), 5000):
        part = chunks[at : at + 5000]
        collection.add(ids=[str(at + n) for n in range(len(part))], embeddings=vectors[at : at + 5000], documents=part)
    added = time.perf_counter()
    print(json.dumps({"load": loaded - start, "encode": encoded - loaded, "add": added - encoded}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
