"""Tokenizers, a tiny encoder and toy questions for what reads spans."""

from __future__ import annotations

import random

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from llmkit.data.vocabulary import train_wordpiece

KINDS = {
    "colour": ["red", "dark green", "blue", "light grey"],
    "animal": ["horse", "sea lion", "fox", "barn owl"],
    "city": ["Rome", "New York", "Oslo", "Cape Town"],
}
FILLERS = ["one", "day", "we", "saw", "that", "it", "was", "there", "and", "went", "on", "with", "all", "so", "far"]


def bert_tokenizer(texts, size=300):
    """WordPieces in lower case between [CLS] and [SEP], as BERT's; the same ones whenever the texts are the same."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [AddedToken(name, special=True, normalized=False) for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")]
    train_wordpiece(tokenizer, texts, size, special, least=1)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **names
    )


def byte_tokenizer():
    """Every byte a token, with the space before a word in one with it, and nothing between two texts; as GPT-2's."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={"<|end|>": 0} | {c: n + 1 for n, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


def toy_questions(count, seed=0, *, titles=0):
    """`(question, context, answers as (text, start), title)`: which colour, animal or city a text names, if it does."""
    source = random.Random(seed)
    rows = []
    for number in range(count):
        words = [source.choice(FILLERS) for _ in range(source.randint(4, 9))]
        named = {kind: source.choice(KINDS[kind]) for kind in KINDS if source.random() < 0.6}
        for value in named.values():
            words.insert(source.randint(0, len(words)), value)
        context = " ".join(words) + "."
        kind = source.choice(sorted(KINDS))
        answers = [(named[kind], context.index(named[kind]))] if kind in named else []
        rows.append((f"Which {kind}?", context, answers, f"Article {number % titles}" if titles else ""))
    return rows


def toy_tokenizer():
    """Knows all words of the toy questions."""
    return bert_tokenizer([f"{question} {context}" for question, context, _, _ in toy_questions(300)] * 2)


def tiny_config(tokenizer, *, positions=64):
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
    )


def save_encoder(folder, tokenizer, *, positions=64):
    """A tiny encoder without a head, as sentence encoders are published."""
    import torch

    torch.manual_seed(0)
    BertModel(tiny_config(tokenizer, positions=positions)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def as_squad(rows):
    """Toy questions in the form of SQuAD 2.0."""
    articles: dict[str, list] = {}
    for number, (question, context, answers, title) in enumerate(rows):
        asked = {
            "id": str(number),
            "question": question,
            "answers": [{"text": text, "answer_start": start} for text, start in answers],
            "is_impossible": not answers,
        }
        articles.setdefault(title, []).append({"context": context, "qas": [asked]})
    return {"data": [{"title": title, "paragraphs": paragraphs} for title, paragraphs in articles.items()]}
