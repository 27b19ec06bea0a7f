"""What a model is taught on plain text: the next token, the hidden token, the missing span.

An objective turns consecutive tokens into one row of inputs and labels. All randomness comes from the generator it is
handed, so a sample of an epoch is the same row on every machine and after every resume.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import ConfigError
from llmkit.models.families import Objective as ObjectiveName
from llmkit.train.isolation import Isolation
from llmkit.train.samples import IGNORE, IntArray


@dataclass(frozen=True)
class Row:
    """One row of a batch: the model's arguments and, per output position, the id to predict or IGNORE."""

    inputs: Mapping[str, np.ndarray]
    labels: IntArray


class Objective(Protocol):
    """How a row is made from `reads` consecutive tokens, of which `advance` are new in each sample."""

    @property
    def reads(self) -> int: ...

    @property
    def advance(self) -> int: ...

    @property
    def least(self) -> int:
        """Fewest tokens a row can be made of; a row of less than `reads` is padded, so that all have one shape."""
        ...

    def row(self, tokens: IntArray, random: np.random.Generator) -> Row: ...


@dataclass(frozen=True)
class NextToken:
    """Causal language modelling: every position predicts the token after it, so each token is predicted once."""

    length: int
    least: int = 2
    filler: int = 0
    """Id at positions past the end of the data. Nothing attends to them and nothing is predicted there."""
    isolation: Isolation | None = None
    """Keeps the documents of a row apart; None: they see what is before them, whosoever it is."""

    @property
    def reads(self) -> int:
        return self.length + 1

    @property
    def advance(self) -> int:
        return self.length

    def row(self, tokens: IntArray, random: np.random.Generator) -> Row:
        count = len(tokens) - 1
        ids, labels = tokens[:-1], tokens[1:]
        if count < self.length:
            rest = (0, self.length - count)
            ids, labels = np.pad(ids, rest, constant_values=self.filler), np.pad(labels, rest, constant_values=IGNORE)
        apart = self.isolation.inputs(ids, count) if self.isolation else {}
        return Row({"input_ids": ids, **apart}, labels)


@dataclass(frozen=True)
class HiddenToken:
    """Masked language modelling over whole words (BERT, arXiv:1810.04805; whole words: its repository's 2019 update).

    Words are chosen at random; of their tokens 80% are shown as the mask token, 10% as a random token, 10% as they
    are, and all are predicted. No special token is ever chosen.

    Attributes:
        length: tokens in a row, with the first (`cls`) and last (`sep`) token where the tokenizer has them.
        mask: id of the mask token.
        vocabulary: what `Vocabulary.of(tokenizer)` says of every id.
        rate: share of words that is predicted; 15% in the paper.
        isolation: keeps the documents of a row apart; None: they see each other.
    """

    length: int
    mask: int
    vocabulary: Vocabulary
    cls: int | None = None
    sep: int | None = None
    rate: float = 0.15
    least: int = 1
    isolation: Isolation | None = None

    @property
    def reads(self) -> int:
        return self.length - (self.cls is not None) - (self.sep is not None)

    @property
    def advance(self) -> int:
        return self.reads

    def row(self, tokens: IntArray, random: np.random.Generator) -> Row:
        text = self._framed(tokens)
        chosen = self._chosen(text, random)
        fate = random.random(len(text))
        anything = (random.random(len(text)) * len(self.vocabulary.special)).astype(np.int64)
        ids = np.where(fate < 0.8, self.mask, np.where(fate < 0.9, anything, text))
        shown = np.full(self.length, self.mask, dtype=np.int64)
        labels = np.full(self.length, IGNORE, dtype=np.int64)
        shown[: len(text)] = np.where(chosen, ids, text)
        labels[: len(text)] = np.where(chosen, text, IGNORE)
        if self.isolation is not None:
            return Row({"input_ids": shown, **self.isolation.inputs(shown, len(text))}, labels)
        attention = np.zeros(self.length, dtype=np.int64)
        attention[: len(text)] = 1
        return Row({"input_ids": shown, "attention_mask": attention}, labels)

    def _framed(self, tokens: IntArray) -> IntArray:
        first = [] if self.cls is None else [self.cls]
        last = [] if self.sep is None else [self.sep]
        return np.concatenate([first, tokens, last]).astype(np.int64)

    def _chosen(self, text: IntArray, random: np.random.Generator) -> NDArray[np.bool_]:
        word = np.cumsum(self.vocabulary.starts_word(text)) - 1
        draws = random.random(int(word[-1]) + 1)
        special = self.vocabulary.special[text]
        draws[word[special]] = 2.0
        # The least draw is always taken, so that a short row has something to predict.
        chosen: NDArray[np.bool_] = (draws <= max(self.rate, float(draws.min())))[word]
        return chosen & ~special


@dataclass(frozen=True)
class MissingSpans:
    """Span corruption as in T5 (arXiv:1910.10683, section 3.1.4): spans are cut out, and written after their sentinels.

    15% of the tokens in spans of 3 on average. `x x [a b] y y y [c] z` is read as `x x S0 y y y S1 z EOS` and answered
    with `S0 a b S1 c EOS`. The number of tokens read is the largest for which the corrupted text fits `length`, so
    every row has the same shape.

    Attributes:
        length: tokens that the encoder sees.
        sentinels: ids of the sentinel tokens in order of use.
        start: id that the decoder's input begins with; T5 uses the pad token.
    """

    length: int
    sentinels: tuple[int, ...]
    eos: int
    start: int
    density: float = 0.15
    mean_span: float = 3.0

    def __post_init__(self) -> None:
        if self.length < 8:
            raise ConfigError(
                f"a sequence length of {self.length} is too short to cut spans out of", mend="use 8 or more"
            )
        if self._spans > len(self.sentinels):
            raise ConfigError(
                f"a sequence length of {self.length} needs {self._spans} sentinel tokens, and the tokenizer has "
                f"{len(self.sentinels)}",
                mend="use a shorter sequence length, or a tokenizer with more sentinels",
            )

    @cached_property
    def reads(self) -> int:
        tokens = self.length
        while self._encoded(tokens + 1) <= self.length:
            tokens += 1
        while self._encoded(tokens) > self.length:
            tokens -= 1
        return tokens

    @property
    def advance(self) -> int:
        return self.reads

    def row(self, tokens: IntArray, random: np.random.Generator) -> Row:
        noise, spans = self._noise(len(tokens))
        kept = _composition(len(tokens) - noise, spans, random)
        cut = _composition(noise, spans, random)
        shown: list[int] = []
        answer: list[int] = []
        at = 0
        for sentinel, keep, drop in zip(self.sentinels, kept, cut, strict=False):
            shown += [*tokens[at : at + keep], sentinel]
            answer += [sentinel, *tokens[at + keep : at + keep + drop]]
            at += keep + drop
        labels = np.array([*answer, self.eos], dtype=np.int64)
        decoder = np.concatenate([[self.start], labels[:-1]]).astype(np.int64)
        return Row({"input_ids": np.array([*shown, self.eos], dtype=np.int64), "decoder_input_ids": decoder}, labels)

    @property
    def least(self) -> int:
        return self.reads

    @property
    def _spans(self) -> int:
        return self._noise(self.reads)[1]

    def _noise(self, tokens: int) -> tuple[int, int]:
        noise = min(max(round(tokens * self.density), 1), tokens - 1)
        return noise, min(max(round(noise / self.mean_span), 1), tokens - noise)

    def _encoded(self, tokens: int) -> int:
        noise, spans = self._noise(tokens)
        return tokens - noise + spans + 1


def objective_for(kind: ObjectiveName, tokenizer: Any, length: int, isolation: Isolation | None = None) -> Objective:
    """What a model of this kind learns from plain text, with the special tokens that its tokenizer has for it.

    Args:
        length: tokens of a row.
        isolation: of causal and masked rows.

    Raises:
        ConfigError: the tokenizer lacks a token that the objective needs.
    """
    if kind == "causal":
        return NextToken(length, isolation=isolation)
    if kind == "masked":
        if tokenizer.mask_token_id is None:
            raise ConfigError("masked training needs a mask token, and the tokenizer has none", mend=_TRAIN_ANOTHER)
        vocabulary = Vocabulary.of(tokenizer)
        framing = {"cls": tokenizer.cls_token_id, "sep": tokenizer.sep_token_id}
        return HiddenToken(length, tokenizer.mask_token_id, vocabulary, **framing, isolation=isolation)
    numbered = {
        int(match[1]): id_
        for id_, token in tokenizer.added_tokens_decoder.items()
        if (match := _SENTINEL.fullmatch(token.content))
    }
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None or not numbered:
        raise ConfigError("span corruption needs eos, pad and <extra_id_N> tokens", mend=_TRAIN_ANOTHER)
    sentinels = tuple(numbered[number] for number in sorted(numbered))
    return MissingSpans(length, sentinels, tokenizer.eos_token_id, tokenizer.pad_token_id)


_SENTINEL = re.compile(r"<extra_id_(\d+)>")
_TRAIN_ANOTHER = "use a tokenizer trained by llmkit preprocess, which reserves them all"


def _composition(total: int, parts: int, random: np.random.Generator) -> list[int]:
    """`total` as a sum of `parts` positive numbers, every such sum equally likely."""
    cuts = np.sort(np.argsort(random.random(total - 1), kind="stable")[: parts - 1]) + 1
    return [int(part) for part in np.diff(np.concatenate([[0], cuts, [total]]))]


@dataclass(frozen=True)
class Vocabulary:
    """What must be known of each id to mask whole words; boolean arrays of the vocabulary's size."""

    special: NDArray[np.bool_]
    begins_inside: NDArray[np.bool_] = field(repr=False)
    """The token's text begins as the middle of a word can: with a letter, a digit, a mark or an underscore."""
    ends_inside: NDArray[np.bool_] = field(repr=False)
    continues: NDArray[np.bool_] = field(repr=False)
    """The token goes on with what the one before it began: a word, as WordPiece marks it, or a character's bytes."""
    within: NDArray[np.bool_] = field(repr=False)
    """The token is nothing but later bytes of a character, whose kind the token that began it knows."""

    @classmethod
    def of(cls, tokenizer: Any) -> Vocabulary:
        """Read from any tokenizer of transformers' fast kind, by its tokens' text."""
        special = np.zeros(len(tokenizer), dtype=bool)
        special[tokenizer.all_special_ids] = True
        tokens = [str(token) for token in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))]
        if type(tokenizer.backend_tokenizer.model).__name__ == "WordPiece":  # it marks what continues a word itself
            marked = np.array([token.startswith("##") for token in tokens])
            none = np.zeros_like(special)
            return cls(special, none, none, marked & ~special, none)
        edges = [_edges(tokenizer, id_, token) for id_, token in enumerate(tokens)]
        begins = np.array([_inside(first) for first, _ in edges])
        ends = np.array([_inside(last) for _, last in edges])
        continues, within = (np.array([edge[at] == _GOES_ON for edge in edges]) for at in (0, 1))
        return cls(special, begins & ~special, ends & ~special, continues & ~special, within & ~special)

    def starts_word(self, ids: IntArray) -> NDArray[np.bool_]:
        """For each token whether a word starts with it; anything but a letter, digit or underscore stands alone."""
        starts = np.ones(len(ids), dtype=bool)
        began = np.maximum.accumulate(np.where(self.within[ids], 0, np.arange(len(ids))))
        joined = self.begins_inside[ids[1:]] & self.ends_inside[ids[began[:-1]]]
        starts[1:] = ~(joined | self.continues[ids[1:]] & ~self.special[ids[:-1]])
        return starts


_GOES_ON = "\ufdd0"
"""Stands for bytes that end a character begun in an earlier token; a code point that is no character."""
_BYTES = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _BYTES]
_OF_LETTER = {chr(byte): byte for byte in _BYTES} | {chr(0x100 + at): byte for at, byte in enumerate(_OTHERS)}
"""The letters that byte-level tokenizers write bytes with (GPT-2's `bytes_to_unicode`) -> the byte."""
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


def _edges(tokenizer: Any, id_: int, token: str) -> tuple[str, str]:
    """The first and the last character of a token's text, "" where it has none.

    Of a character that the token holds only in part, one of its kind stands there, or `_GOES_ON` for its rest.
    """
    if token.startswith("▁"):  # SentencePiece marks what begins a word, and decoding a lone token drops the mark
        return " ", token[-1]
    text = str(tokenizer.decode([id_]))
    raw = _bytes_of(token) if "\ufffd" in text else b""
    if not raw:
        return text[:1], text[-1:]
    leads = [at for at, byte in enumerate(raw) if not 0x80 <= byte < 0xC0]
    if not leads:
        return _GOES_ON, _GOES_ON
    first = _GOES_ON if leads[0] else _beginning_of(raw[: (*leads, len(raw))[1]])
    return first, _beginning_of(raw[leads[-1] :])


def _bytes_of(token: str) -> bytes:
    """The bytes that a token stands for, in a byte-level vocabulary or as SentencePiece's fall-back; else none."""
    fallback = _BYTE_TOKEN.fullmatch(token)
    if fallback:
        return bytes([int(fallback[1], 16)])
    return bytes(_OF_LETTER[letter] for letter in token) if all(letter in _OF_LETTER for letter in token) else b""


def _beginning_of(raw: bytes) -> str:
    """The character of these bytes; where some are missing, one of the kind that the first of them most likely begins.

    0xC2 and 0xE2 begin signs, 0xE3 to 0xE9 Chinese and Japanese, 0xEF their full-width forms, 0xF0 emoji; the others
    letters of scripts that are written with spaces (and a few without, such as Thai, whose torn words so grow longer).
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "-" if raw[0] in (0xC2, 0xE2, *range(0xE3, 0xEA)) or raw[0] >= 0xEF else "a"


def _inside(character: str) -> bool:
    # Scripts written without spaces have no such words: there each token stands alone.
    if not character or character == _GOES_ON:
        return False
    code = ord(character)
    if 0x0E00 <= code <= 0x0EFF or 0x3040 <= code <= 0x30FF or 0x3400 <= code <= 0x9FFF or code >= 0x20000:
        return False
    return character.isalnum() or character == "_" or unicodedata.category(character).startswith("M")
