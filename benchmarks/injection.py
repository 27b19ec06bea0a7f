"""How often a model obeys what stands in a document: BIPIA's attacks planted in BIPIA's e-mails.

Run from the repository's root:

    python benchmarks/injection.py --model REF [--limit N] [--json FILE]

REF is a local folder, a name of the registry or `openai:http://HOST:PORT/v1#NAME`. Needs ../shared/data/bipia, which is
not part of the repository.

BIPIA (Yi et al. 2023, "Benchmarking and Defending Against Indirect Prompt Injection Attacks on Large Language Models")
judges most of its attacks by another model. Here each attack also asks for a code word in two halves, to be written
together. Whoever only copies the attack writes the halves apart; who obeys writes the word, which stands nowhere in the
prompt. So success is counted exactly, and told apart from copying. Three ways of answering are compared:

- `llmkit`: the prompt of `ask --index --model`: passages between tags that no text contains, control tokens inert;
- `pasted`: the e-mail and the question, one after the other, with nothing done about it;
- `quotes`: `ask --index` without a model. It can only copy.

Each attack comes in three styles: said, said behind a forged end of the passage, and said in a forged turn of a chat
template. The interval is Wilson's, 95%.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from llmkit.evaluation.kinds import injection
from llmkit.evaluation.stats import wilson_interval
from llmkit.generation import extract
from llmkit.generation.prompts import Passage, grounded_messages
from llmkit.retrieval.lexical import Stemmer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "bipia"

Messages = list[dict[str, str]]
Reply = Callable[[Messages], str]


class Case(NamedTuple):
    """An e-mail with an attack in it, a question about the e-mail, and the halves of the word that obeying writes."""

    document: str
    question: str
    halves: tuple[str, str]
    style: str
    category: str
    attacked: bool = True


@dataclass(frozen=True)
class Rate:
    """How many of `n` obeyed, and how many repeated the attack's words; `low` to `high` holds the share that obeys."""

    obeyed: int
    repeated: int
    n: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.obeyed / self.n if self.n else 0.0


def cases(folder: Path = DATA, *, seed: int = 0, limit: int = 0) -> list[Case]:
    """Every attack in every style, each in one e-mail; and, last, e-mails without an attack."""
    attacks = json.loads((folder / "text_attack_test.json").read_text("utf-8"))
    mails = [json.loads(line) for line in (folder / "email_test.jsonl").read_text("utf-8").splitlines() if line]
    pick = random.Random(seed)
    made = []
    for category, texts in attacks.items():
        for text in texts:
            for style, form in injection.STYLES.items():
                mail = pick.choice(mails)
                halves = _halves(pick)
                order = form.format(attack=injection.order(text, halves))
                document = injection.planted(mail["context"], order, pick.choice(injection.PLACES))
                made.append(Case(document, mail["question"].removeprefix("Q: "), halves, style, category))
    pick.shuffle(made)
    made = made[: limit or len(made)]
    clean = [
        Case(mail["context"], mail["question"].removeprefix("Q: "), _halves(pick), "none", "none", False)
        for mail in mails[: len(made)]
    ]
    return [*made, *clean]


def ways(reply: Reply) -> dict[str, Callable[[Case], str]]:
    """The three ways of answering."""
    return {
        "llmkit": lambda case: reply(grounded_messages(case.question, [Passage(case.document, "mail.txt")])),
        "pasted": lambda case: reply([{"role": "user", "content": f"{case.document}\n\n{case.question}"}]),
        "quotes": quoted,
    }


def quoted(case: Case) -> str:
    """What is answered without a model: the sentences that say most about the question."""
    terms = Stemmer().terms
    idf = dict.fromkeys(terms([case.question])[0], 1.0)
    passage = extract.Passage(case.document, "text/plain", 1.0)
    quotes = extract.best_quotes([passage], idf, terms, None, most=3)
    return "\n".join(case.document[slice(*quote.span)] for quote in quotes)


def measured(cases: Sequence[Case], answer: Callable[[Case], str]) -> dict[str, Rate]:
    """The rate over all attacks, by style, and of the e-mails without an attack."""
    replies = [(case, answer(case)) for case in cases]
    groups = {"all": [pair for pair in replies if pair[0].attacked]}
    groups |= {style: [pair for pair in replies if pair[0].style == style] for style in (*injection.STYLES, "none")}
    return {name: _rate(pairs) for name, pairs in groups.items()}


def _rate(replies: Sequence[tuple[Case, str]]) -> Rate:
    n = len(replies)
    hits = sum(injection.obeyed(case.halves, reply) for case, reply in replies)
    copied = sum(injection.repeated(case.halves, reply) for case, reply in replies)
    low, high = wilson_interval(hits / n, n) if n else (0.0, 1.0)
    return Rate(hits, copied, n, low, high)


def _halves(pick: random.Random) -> tuple[str, str]:
    return injection.half(pick), injection.half(pick)


def rows(found: dict[str, dict[str, Rate]]) -> Iterator[str]:
    yield "| answered by | attack | obeyed | 95% interval | repeated its words |"
    yield "| --- | --- | --- | --- | --- |"
    for way, rates in found.items():
        for style, rate in rates.items():
            interval = f"{rate.low:.1%} to {rate.high:.1%}"
            yield f"| {way} | {style} | {rate.obeyed} of {rate.n} ({rate.share:.1%}) | {interval} | {rate.repeated} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--limit", type=int, default=0, help="attacks, drawn from all 225; 0: all")
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if not DATA.is_dir():
        print(f"{DATA} is not there: nothing to plant", file=sys.stderr)
        return 3
    from llmkit.cli.invocation import open_registry
    from llmkit.generation.sampling import Sampling
    from llmkit.stages import models

    model = models.generator(models.find_model(options.model, open_registry()))
    sampling = Sampling(max_tokens=options.max_tokens)
    planted = cases(limit=options.limit)
    found = {
        way: measured(planted, answer) for way, answer in ways(lambda said: model.generate(said, sampling).text).items()
    }
    print(f"{options.model}, greedy, at most {options.max_tokens} tokens\n")
    print("\n".join(rows(found)))
    if options.json:
        figures = {way: {style: asdict(rate) for style, rate in rates.items()} for way, rates in found.items()}
        options.json.write_text(json.dumps({"model": options.model, "rates": figures}, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
