"""The step of preprocessing that records which evaluation items a document contains, and the report over them all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llmkit.data.steps.decontamination.lookup import EvalGrams
from llmkit.data.steps.passed import Passed
from llmkit.text.document import Document


@dataclass(frozen=True)
class DecontaminateStep:
    """Records in `facts["contaminated"]` the ids of the items a document contains, by set; absent where there are none.

    Nothing is dropped here: that comes after the duplicates are known.
    """

    grams: EvalGrams

    def __call__(self, document: Document) -> Passed:
        found = self.grams.found_in(document.text)
        return Passed(document, facts={"contaminated": found} if found else {})


def contamination_report(grams: EvalGrams, found: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, object]:
    """What `contamination.json` records, so that an evaluation can report clean and contaminated scores.

    Args:
        grams: what was looked for.
        found: `facts["contaminated"]` of each document that has it.

    Returns:
        `ngram`, and `sets`: for each name, `items`, `items_hit` (found in some document), `too_short` (not looked
        for), `common_grams` (ignored as templates), `documents_hit`, and `hits`: the ids of the items hit, in order.
    """
    hits: dict[str, set[str]] = {each.name: set() for each in grams.sets}
    documents = dict.fromkeys(hits, 0)
    for of_document in found:
        for name, ids in of_document.items():
            hits[name].update(ids)
            documents[name] += 1
    return {
        "ngram": grams.n,
        "sets": {
            each.name: {
                "items": len(each.ids),
                "items_hit": sum(item in hits[each.name] for item in each.ids),
                "too_short": each.too_short,
                "common_grams": each.common,
                "documents_hit": documents[each.name],
                "hits": [item for item in dict.fromkeys(each.ids) if item in hits[each.name]],
            }
            for each in grams.sets
        },
    }
