"""Groups of options that a command and a library share: the command shows them as flags, the library is handed them."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from llmkit.config.base import Config, option

Optimizer = Literal["adamw", "muon", "adafactor", "sgd"]


class Seeded(Config):
    """Whatever is random."""

    seed: int = option(0, "Seed of everything random.", ge=0)


class CleanOptions(Config):
    """How documents are normalised, and which are too short."""

    normalise: bool = option(
        True, "Line ends, Unicode form, control characters and white space; off: texts stay as read."
    )
    repair: bool = option(True, "Undo wrong decodings (`Ã©` for `é`) in prose.")
    form: Literal["NFC", "NFKC", "none"] = option(
        "NFC", "Unicode normal form; NFKC also folds full-width and other compatibility characters."
    )
    width: Literal["keep", "fold"] = option(
        "keep", "fold: full-width letters and digits to ASCII, half-width kana to full-width; in prose."
    )
    quotes: Literal["keep", "straighten"] = option("keep", "straighten: curly quotes to ASCII ones; in prose.")
    lowercase: bool = option(False, "Put prose into lower case.")
    symbols: Literal["keep", "remove"] = option(
        "keep", "remove: from prose, whatever is no letter, mark, digit, space or ordinary punctuation."
    )
    min_chars: int = option(20, "Drop documents with fewer characters that are not white space.", ge=0)


class LanguageOptions(Config):
    """Which languages stay. Source code has no language and always passes."""

    identify: bool = option(True, "Record each document's language.")
    languages: tuple[str, ...] = option((), "Keep only documents in these languages (ISO 639-1: en,ja).", commas=True)
    drop_languages: tuple[str, ...] = option((), "Drop documents in these languages.", commas=True)
    confidence: float = option(
        0.65, "With --languages: the least certainty that a document is in one of them.", ge=0, le=1
    )


class QualityOptions(Config):
    """Which rules of quality a document must meet. Each rule has a variant for scripts without spaces."""

    rules: tuple[Literal["gopher_quality", "gopher_repetition", "c4", "fineweb", "code"], ...] = option(
        (), "Presets of quality rules that documents must meet; none by default.", commas=True
    )
    threshold: tuple[str, ...] = option((), "Change a rule's threshold: gopher_quality.min_words=20.", commas=True)


class PrivacyOptions(Config):
    """What is done about personal data and secrets."""

    pii: Literal["count", "replace", "drop", "off"] = option(
        "count", "Personal data and keys: count them, replace them by placeholders, drop the document, or do not look."
    )
    pii_types: tuple[str, ...] = option((), "Only these types (email, phone, ...); else all.", commas=True)
    consistent: bool = option(False, "Number placeholders, so that one value has one placeholder within a document.")
    recogniser: Literal["patterns", "presidio"] = option(
        "patterns", "patterns: rules and check digits; presidio: Microsoft's analyzer (an extra)."
    )


class LimitOptions(Config):
    """What reading one file may cost. A file that costs more is dropped, and the run goes on."""

    seconds: float = option(60.0, "Most seconds that a parser may take for a document.", gt=0)
    memory: float = option(2.0, "Most GiB of memory that a parser may take.", gt=0)


class WebOptions(Config):
    """How pages are fetched where an input is a URL, a sitemap or a feed."""

    rate: float = option(1.0, "Requests per second to one host, at most.", gt=0, keyed=False)
    max_pages: int = option(1000, "Pages that are fetched, at most.", ge=1)


class DedupOptions(Config):
    """Which duplicates are dropped."""

    duplicates: Literal["near", "exact", "none"] = option("near", "Which duplicates are dropped.")
    similarity: float = option(0.8, "Jaccard similarity from which documents are near-duplicates.", gt=0, le=1)
    repeated_lines: int = option(
        0, "Remove lines of prose that occur in at least this many documents (menus, footers); 0: keep them.", ge=0
    )


class DecontaminateOptions(Config):
    """What is kept out because models are tested on it."""

    against: tuple[str, ...] = option((), "Files of evaluation sets; documents that contain their text are found.")
    ngram: int = option(13, "Words in a row that a document may not share with them (Brown et al. 2020).", ge=3)
    contaminated: Literal["drop", "keep"] = option("drop", "drop such documents, or keep and record them.")


class SplitOptions(Config):
    """Shares of the clusters of duplicates that are held out, by count, on average."""

    validation: float = option(0.05, "Share of the documents held out for validation.", ge=0, lt=1)
    test: float = option(0.05, "Share of the documents held out for the test.", ge=0, lt=1)

    @model_validator(mode="after")
    def _something_to_train_on(self) -> SplitOptions:
        if self.validation + self.test >= 1:
            raise ValueError("the shares held out for validation and test leave nothing to train on")
        return self


class ArchitectureOptions(Config):
    """What differs from the size: one name for a dimension in every family, whatever its own configuration calls it."""

    layers: int = option(0, "Blocks (of encoder and of decoder, where there are two); 0: as the size has.", ge=0)
    width: int = option(0, "Width of the embedding and of what blocks hand on; 0: as the size has.", ge=0)
    heads: int = option(0, "Attention heads; 0: as the size has.", ge=0)
    kv_heads: int = option(0, "Heads of keys and values, fewer for grouped attention; 0: as the size has.", ge=0)
    head_width: int = option(0, "Width of a head; 0: as the size has, else width / heads.", ge=0)
    ff_width: int = option(0, "Inner width of the feed-forward layers; 0: in proportion, as the size has.", ge=0)
    vocab_size: int = option(0, "Rows of the embedding; 0: as the tokenizer has (to plan: the published).", ge=0)
    dropout: float | None = option(None, "Dropout, wherever the family has it; else as the size has.", ge=0, lt=1)


class FamilyOptions(Config):
    """A model by its family and size, or with dimensions of one's own."""

    family: str = option("gpt2", "Model family, a row of the table in docs/families.md.")
    size: str = option("tiny", "Size of the family.")
    architecture: ArchitectureOptions = ArchitectureOptions()


class StepOptions(Config):
    """What one optimizer step is made of: it decides what training computes, and what memory it takes."""

    panel = "Training"

    batch_size: int = option(8, "Samples per optimizer step, over all processes.", ge=1)
    micro_batch_size: int = option(0, "Samples per forward pass of a process; 0: its whole share at once.", ge=0)
    optimizer: Optimizer = option("adamw", "muon: on hidden matrices, AdamW on the rest, with one learning rate.")


class TrainOptions(StepOptions, Seeded):
    """What a training run does. The defaults are those of a small model trained from scratch.

    Sources: nanoGPT's pretraining (betas 0.9/0.95, weight decay 0.1, clip 1.0, floor a tenth of the peak) and its
    recipe for very small models (lr 1e-3).
    """

    panel = "Training"

    steps: int = option(0, "Optimizer steps, and the length of the schedule; 0: as the other budgets say.", ge=0)
    samples: int = option(0, "End after so many samples, with a short last step; 0: after the last step.", ge=0)
    minutes: float = option(0.0, "Time budget; the schedule then follows the clock. 0: none.", ge=0)
    lr: float = option(1e-3, "Peak learning rate.", gt=0)
    schedule: Literal["cosine", "linear", "constant", "wsd"] = option("cosine", "Shape of the learning rate.")
    warmup: float = option(0.1, "Share of the run that warms up.", ge=0, lt=1)
    floor: float = option(0.1, "Share of the peak learning rate at the end of a decaying schedule.", ge=0, le=1)
    beta1: float = option(0.9, "AdamW's average of gradients; SGD's momentum.", ge=0, lt=1)
    beta2: float = option(0.95, "AdamW's average of their squares.", ge=0, lt=1)
    weight_decay: float = option(0.1, "Decoupled decay, on matrices only.", ge=0)
    clip: float = option(1.0, "Largest gradient norm; 0: any.", ge=0)
    spike: float = option(
        1.5, "Stop when the smoothed loss is so many nats above its lowest; 0: never.", ge=0, keyed=False
    )
    eval_every: int = option(100, "Steps between evaluations on the held-out part; 0: before and after only.", ge=0)
    eval_samples: int = option(1000, "Held-out samples of an evaluation at most, evenly spread; 0: all.", ge=0)
    patience: int = option(0, "Stop after so many evaluations without a lower held-out loss; 0: never.", ge=0)
    publish: Literal["best", "last"] = option(
        "best", "Weights that are published: of the lowest held-out loss (the last ones come along), or the last."
    )
    checkpoint_every: int = option(100, "Steps between checkpoints; 0: at the end only.", ge=0, keyed=False)
    keep: int = option(2, "Latest checkpoints that are kept, besides the best.", ge=1, keyed=False)
    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto", "Of matrix products; auto measures. Weights stay float32."
    )
    compile: Literal["auto", "on", "off"] = option("auto", "auto compiles where the run is long enough to pay for it.")
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps.", keyed=False)


class DpoOptions(Config):
    """Direct preference optimisation."""

    beta: float = option(0.1, "With preference pairs: how strongly the model is held to the one it was.", gt=0)


class RankingOptions(Config):
    """How the passages that a search found are put in order before an answer is made of them."""

    rerank: str | None = option(
        None, "Cross-encoder that reads each passage with the question: of the registry, a folder or the Hub."
    )
    rerank_top: int = option(20, "Passages that the cross-encoder reads.", ge=2, le=100)
    diversity: float = option(
        0.0,
        "0: the best passages, however alike; towards 1: rather ones that differ (maximal marginal relevance).",
        ge=0,
        le=1,
    )


class RecordOptions(Config):
    """What is kept of a question, on this machine only."""

    log: bool = option(True, "Record the question and its answer on this machine (`llmkit questions`).", keyed=False)
    scrub: bool = option(False, "Replace personal data and keys in what is recorded.", keyed=False)
    keep_days: int = option(90, "Days after which a recorded question is deleted; 0: never.", ge=0, keyed=False)
    keep_questions: int = option(10_000, "Latest questions that are kept; 0: all.", ge=0, keyed=False)


class GenerationOptions(Config):
    """How a model's words are made."""

    temperature: float | None = option(
        None, "0: always the likeliest word; more: more variety; else 0, or what suits the --task.", ge=0
    )
    max_tokens: int | None = option(None, "Longest answer of a model; else 256, or what suits the --task.", ge=1)
    image: tuple[str, ...] = option((), "Picture that goes with the question, for an endpoint whose model sees.")
    timeout: float = option(120.0, "Seconds to wait for an endpoint's next word.", gt=0, keyed=False)
    retry: int = option(4, "Further attempts where an endpoint is busy or fails.", ge=0, le=20, keyed=False)


class PresetOptions(Config):
    """A task that is done on a text, in place of a question."""

    task: Literal["summarize", "translate", "sentiment", "write", "complete", "code"] | None = option(
        None, "What is done with the text that stands for the question."
    )
    file: str | None = option(None, "File that the --task works on (any that `index` reads), or - for standard input.")
    to: str | None = option(None, "Language to translate to: ja, English, ...")


class WordingOptions(Config):
    """How conversations and texts are written for a model, and what of them is learned."""

    template: str = option(
        "", "Chat template: chatml, llama2, llama3, vicuna, gemma or a Jinja file; else the model's."
    )
    learn: Literal["assistant", "last", "all"] = option(
        "assistant", "Tokens that are learned: of the assistant's turns, of the last one only, or all."
    )
    packing: bool = option(False, "Put several short examples into a row; none of them sees another.")


class CausalOptions(WordingOptions):
    """Conversations and texts: how they are written for a model, and what must have been learned of them."""

    require_eos: bool = option(False, "Fail where fewer than half of sample answers end by themselves.")


class LoraOptions(Config):
    """An adapter's shape: the values on which TRL, axolotl and LLaMA-Factory agree."""

    rank: int = option(16, "Rank of the update.", ge=1)
    alpha: int = option(32, "Scale of the update: alpha over the rank (over its square root for rslora).", ge=1)
    dropout: float = option(0.0, "Dropout before the update.", ge=0, lt=1)
    targets: tuple[str, ...] = option((), "Layers that are adapted, by name; else all linear ones of the family.")
    plus: float = option(
        0.0, "LoRA+: learning rate of the B matrices over that of the A; 0: the same. axolotl advises 16.", ge=0
    )
