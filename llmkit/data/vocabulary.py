"""Vocabularies of WordPiece and Unigram that come out the same whenever they are made of the same text.

The trainers of `tokenizers` walk hash maps, whose order is another in each process. Its BPE does not let that be seen;
its WordPiece numbers the characters within words in that order, by which ties between merges are then broken, and its
Unigram adds up floating-point numbers in it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

PREFIX = "##"
"""Before each piece of a word but its first."""

_SMALLEST_ALPHABET = 100
_CHUNK = re.compile(r"[^ \t\r\n]+")
_STAND_INS = 0x10000
"""The first of the code points that stand for characters while BPE runs: beyond the surrogates, with a million after
it. Only the space, which parts the words, has a meaning there."""
_FED = 1_000_000
"""Characters that are handed over at a time."""

_DIGITS = 4
"""Decimals of a score, in nats. What the order of adding changes lies near 1e-15, and at 4e-11 at most, on 5 MB of text
with a vocabulary of 8,000: that two runs round one of its scores differently has a probability of about 1e-5."""
_PENALTY = 1e-4
"""By which the library's scores of characters that its training left out differ, in random order (finalize in
https://github.com/huggingface/tokenizers, unigram/trainer.rs, after SentencePiece's)."""
_SAME = 1e-8


def train_wordpiece(
    core: Tokenizer, texts: Iterable[str], size: int, special: Sequence[AddedToken], least: int = 2
) -> None:
    """Give a tokenizer with a WordPiece model (Wu et al. 2016, arXiv:1609.08144, section 4.1) its vocabulary.

    It is learned as the library does it: by BPE, in which a character at the start of a word and the same one within a
    word are two. Here each has a code point of its own while BPE runs. Words too long for the model teach it nothing.

    Args:
        core: its normaliser and its pre-tokeniser make the words.
        size: tokens, special ones included, which come first in their order.
        least: how often two pieces must meet to become one.
    """
    longest = core.model.max_input_chars_per_word
    words = _words(core, texts)
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    most = max(_SMALLEST_ALPHABET, size // 4)
    alphabet = sorted(sorted(counts, key=lambda character: (-counts[character], character))[:most])
    first = {character: chr(_STAND_INS + number) for number, character in enumerate(alphabet)}
    inner = {character: chr(_STAND_INS + len(alphabet) + number) for number, character in enumerate(alphabet)}
    coded: Counter[str] = Counter()
    for word, count in words.items():
        known = [character for character in word if character in first] if len(word) <= longest else []
        if known:
            coded[first[known[0]] + "".join(inner[character] for character in known[1:])] += count
    pieces = {code: character for character, code in first.items()}
    pieces |= {code: PREFIX + character for character, code in inner.items()}
    merged = _bpe(coded, size - len(special), list(first.values()), least)
    tokens = [*(token.content for token in special), *(_piece(token, pieces) for token in merged)]
    core.model = models.WordPiece(
        {token: number for number, token in enumerate(tokens)},
        unk_token=core.model.unk_token,
        max_input_chars_per_word=longest,
        continuing_subword_prefix=PREFIX,
    )
    core.add_special_tokens(list(special))


def canonical_unigram(core: Tokenizer) -> None:
    """Bring the vocabulary of a tokenizer whose Unigram model has just been trained into the one form it has.

    Scores are rounded, the characters that the training left out get the lowest of them, and tokens come in the order
    of their scores. Special tokens stay where they are.
    """
    vocabulary = json.loads(core.to_str())["model"]["vocab"]
    special = {token.content for token in core.get_added_tokens_decoder().values()}
    scores = {token: score for token, score in vocabulary if token not in special}
    scores |= dict.fromkeys(_left_out(scores), min(scores.values()))
    ordered = sorted(((token, round(score, _DIGITS)) for token, score in scores.items()), key=lambda x: (-x[1], x[0]))
    kept = [(token, score) for token, score in vocabulary if token in special]
    core.model = models.Unigram([*kept, *ordered])


def _left_out(scores: Mapping[str, float]) -> Sequence[str]:
    """Characters whose scores are the lowest one of all, and from there upwards in equal steps, without a gap."""
    characters = sorted((score, token) for token, score in scores.items() if len(token) == 1)
    found: list[str] = []
    reached = 0
    for score, token in characters:
        above = score - characters[0][0]
        step = round(above / _PENALTY)
        if step > reached + 1:
            break
        if abs(above - step * _PENALTY) < _SAME:
            found.append(token)
            reached = step
    return found


def _words(core: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """The words of the texts, as the tokenizer makes them, and how often each comes.

    What stands between two blanks is the same wherever it stands: so each is looked at once.
    """
    chunks: Counter[str] = Counter()
    for text in texts:
        chunks.update(_CHUNK.findall(text))
    words: Counter[str] = Counter()
    for chunk, count in chunks.items():
        shown = core.normalizer.normalize_str(chunk) if core.normalizer else chunk
        for word, _ in core.pre_tokenizer.pre_tokenize_str(shown):
            words[word] += count
    return words


def _bpe(words: Mapping[str, int], size: int, alphabet: Sequence[str], least: int) -> Sequence[str]:
    """The tokens that BPE makes of words without blanks, in the order in which it makes them."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.CharDelimiterSplit(" ")
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=list(alphabet), min_frequency=least, show_progress=False
    )
    core.train_from_iterator(_repeated(words), trainer)
    return sorted(core.get_vocab(), key=core.get_vocab().__getitem__)


def _repeated(words: Mapping[str, int]) -> Iterator[str]:
    """Each word as often as it comes: the trainer counts for itself."""
    for word, count in words.items():
        at_once = max(1, _FED // (len(word) + 1))
        while count > 0:
            yield f"{word} " * min(count, at_once)
            count -= at_once


def _piece(token: str, pieces: Mapping[str, str]) -> str:
    """`##ing` of the code points that stand for an inner i and what follows it."""
    return pieces[token[0]] + "".join(pieces[code].removeprefix(PREFIX) for code in token[1:])
