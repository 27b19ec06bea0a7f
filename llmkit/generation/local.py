"""Generation with a transformers model on this machine: causal or seq2seq, whole or streamed.

The decoding loop is ours: a plain generator that can be stopped, draws from a random source of its own, and needs no
thread. Greedy output equals that of transformers' `generate`.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jinja2 import TemplateError

from llmkit.errors import DataError, UsageError
from llmkit.generation.prompts import Message, plain_prompt
from llmkit.generation.sampling import GREEDY, Detokenizer, FinishReason, Generation, Sampling, StopStrings, TextStream
from llmkit.models.families import Objective
from llmkit.text.control import defused_messages, special_tokens

_NO_LIMIT = 1_000_000
"""transformers writes 1e30 where a tokenizer knows no limit."""
_UNKNOWN_CONTEXT = 2048
"""lm-evaluation-harness's assumption for models that state no limit (T5, BLOOM)."""
_MOST_RESERVED = 4
"""A prompt is cut before less than one part in so many of the context (or `max_tokens`) is left for the answer."""


class Encoded(NamedTuple):
    """A chat example as the model's tokens: what it reads, and what it should say, up to the end of its turn."""

    prompt: list[int]
    completion: list[int]


@dataclass(frozen=True)
class LocalModel:
    """A loaded transformers model with its tokenizer.

    Attributes:
        model: in eval mode; of an auto class that fits the objective.
        stop_ids: ids that end a turn besides those that the model's own configuration names.
    """

    model: Any
    tokenizer: Any
    objective: Objective
    stop_ids: tuple[int, ...] = ()

    @cached_property
    def context(self) -> int:
        """Most tokens the model reads at once."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is None and self.tokenizer.model_max_length < _NO_LIMIT:
            limit = self.tokenizer.model_max_length
        return int(limit or _UNKNOWN_CONTEXT)

    @property
    def device(self) -> torch.device:
        return torch.device(self.model.device)

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Control tokens: as parts of a message they are text and must not act."""
        return special_tokens(self.tokenizer)

    @property
    def prefix_id(self) -> int:
        """The token that a text's first one is predicted from: BOS, else EOS.

        Raises:
            DataError: the tokenizer has neither.
        """
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise DataError("the tokenizer has neither BOS nor EOS to begin a text with", mend="set one in its config")

    def takes(self, argument: str) -> bool:
        """Whether the model's forward has this argument. An adapter passes on what it is given."""
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        return argument in inspect.signature(base.forward).parameters

    def stream(self, prompt: str | Sequence[Message], sampling: Sampling = GREEDY) -> TextStream:
        """Generate, piece by piece. A string is continued as it is; messages go through the chat template.

        A prompt that leaves too little room for an answer loses its beginning; the result's notes say so.

        Raises:
            UsageError: a masked model, which fills gaps and does not write on.
            DataError: an empty prompt, or messages that the chat template refuses.
        """
        if self.objective == "masked":
            raise UsageError(
                "this model fills masked words and cannot write a text", mend="use a causal or seq2seq model"
            )
        ids = self.encode(prompt) if isinstance(prompt, str) else self.encode_messages(prompt)
        if not ids:
            raise DataError("the prompt is empty", mend="give at least one character")
        return TextStream(self._run(ids, sampling))

    def generate(self, prompt: str | Sequence[Message], sampling: Sampling = GREEDY) -> Generation:
        """As `stream`, all at once."""
        return self.stream(prompt, sampling).result

    def encode(self, text: str) -> list[int]:
        """Ids of a plain text, with what this tokenizer adds (BOS). An end mark is only for a seq2seq model's input."""
        ids: list[int] = self.tokenizer(text)["input_ids"]
        if self.objective == "causal":
            while ids and ids[-1] == self.tokenizer.eos_token_id and not text.endswith(self.tokenizer.eos_token):
                ids = ids[:-1]
        return ids

    def encode_messages(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation up to where the assistant speaks."""
        if not self.tokenizer.chat_template:
            return self.encode(plain_prompt(self._defused(messages)))
        return self._templated(self._render(messages, answer=False))

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Exactly the tokens that the model would read of messages."""
        return len(self.encode_messages(messages))

    def encode_example(self, messages: Sequence[Message]) -> Encoded:
        """A conversation whose last message is the assistant's, cut into what is read and what is said.

        The completion ends with the mark that ends a turn: the first control token after the content, else EOS. A
        lone message of the assistant is a plain text: it follows the prefix token and no template.

        Raises:
            DataError: the last message is not the assistant's, or the template does not place it after the prompt.
        """
        if not messages or messages[-1]["role"] != "assistant":
            raise DataError("the example does not end with a message of the assistant", mend="add the right answer")
        eos = [self.tokenizer.eos_token_id] if self.tokenizer.eos_token_id is not None else []
        content = self._defused(messages[-1:])[0]["content"]
        if len(messages) == 1 or not self.tokenizer.chat_template:
            prompt_ids = self.encode_messages(messages[:-1]) if len(messages) > 1 else [self.prefix_id]
            return Encoded(prompt_ids, [*self._templated(content), *eos])
        prompt, whole = self._render(messages[:-1], answer=False), self._render(messages, answer=True)
        if not whole.startswith(prompt):
            raise DataError(
                "the chat template writes an answered conversation differently from an open one",
                mend="use a template whose generation prompt is the beginning of an assistant turn",
            )
        said = whole[len(prompt) :]
        after = said.rfind(content.strip()) + len(content.strip())
        mark = self._mark_length(said[after:])
        completion = self._templated(said[: after + mark])
        return Encoded(self._templated(prompt), completion if mark else [*completion, *eos])

    def _mark_length(self, tail: str) -> int:
        """How far the first control token in the text behind an answer reaches; 0 if there is none."""
        ends = [(tail.find(token), len(token)) for token in self.special_tokens if token in tail]
        return sum(min(ends)) if ends else 0

    def _render(self, messages: Sequence[Message], *, answer: bool) -> str:
        defused = self._defused(messages)
        try:
            return self._apply(defused, answer=answer)
        except TemplateError as error:
            if defused and defused[0]["role"] == "system" and len(defused) > 1:
                # Some templates (Gemma's) know no system message: it goes to the head of the first turn.
                first = {**defused[1], "content": f"{defused[0]['content']}\n\n{defused[1]['content']}"}
                return self._render([first, *defused[2:]], answer=answer)
            raise DataError(f"the chat template refuses these messages: {error}", mend="check their roles") from None

    def _apply(self, messages: Sequence[Message], *, answer: bool) -> str:
        text: str = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=not answer)
        return text

    def _templated(self, text: str) -> list[int]:
        # The template has written BOS and the like already; adding them again is the classic doubled BOS.
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _defused(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        return defused_messages(messages, self.tokenizer)

    @cached_property
    def _ends(self) -> frozenset[int]:
        """Ids after which nothing is generated."""
        found: set[int] = set(self.stop_ids)
        for holder in (self.model.generation_config, self.model.config, self.tokenizer):
            ids = getattr(holder, "eos_token_id", None)
            found.update([ids] if isinstance(ids, int) else ids or ())
        if self.tokenizer.chat_template and self.objective == "causal":
            try:
                example = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
                mark = self.encode_example(example).completion[-1]
            except DataError:
                return frozenset(found)
            if self.tokenizer.convert_ids_to_tokens(mark) in self.special_tokens:
                found.add(mark)
        return frozenset(found)

    def _run(self, ids: list[int], sampling: Sampling) -> Generator[str, None, Generation]:
        ids, budget, notes = fit(ids, sampling.max_tokens, self.context, shared=self.objective == "causal")
        text = Detokenizer(lambda tokens: str(self.tokenizer.decode(tokens, skip_special_tokens=True)))
        stop = StopStrings(sampling.stop)
        said: list[str] = []
        count, ended = 0, False
        source = torch.Generator().manual_seed(sampling.seed)
        tokens = self._causal(ids) if self.objective == "causal" else self._seq2seq(ids)
        logits = next(tokens)
        while count < budget:
            token = choose(logits, sampling, source)
            if token in self._ends:
                ended = True
                break
            count += 1
            said.append(stop.push(text.push(token)))
            if said[-1]:
                yield said[-1]
            if stop.reached:
                break
            if count < budget:
                logits = tokens.send(token)
        tokens.close()
        last = stop.push(text.rest()) + stop.rest()
        if last:
            said.append(last)
            yield last
        reason: FinishReason = "stop" if ended or stop.reached else "length"
        return Generation("".join(said), count, reason, len(ids), notes)

    def _causal(self, ids: list[int]) -> Generator[torch.Tensor, int, None]:
        """Logits after the prompt, then after each token sent, shape (vocabulary,), float32 on the CPU."""
        only_last = {"logits_to_keep": 1} if self.takes("logits_to_keep") else {}
        past, new = None, ids
        while True:
            with torch.inference_mode():
                out = self.model(input_ids=self._tensor(new), past_key_values=past, use_cache=True, **only_last)
                logits = out.logits[0, -1].float().cpu()
            past = out.past_key_values
            new = [(yield logits)]

    def _seq2seq(self, ids: list[int]) -> Generator[torch.Tensor, int, None]:
        with torch.inference_mode():
            encoded = self.model.get_encoder()(input_ids=self._tensor(ids))
        past, new = None, [int(self.model.config.decoder_start_token_id)]
        while True:
            with torch.inference_mode():
                out = self.model(
                    encoder_outputs=encoded, decoder_input_ids=self._tensor(new), past_key_values=past, use_cache=True
                )
                logits = out.logits[0, -1].float().cpu()
            past = out.past_key_values
            new = [(yield logits)]

    def _tensor(self, ids: list[int]) -> torch.Tensor:
        return torch.tensor([ids], device=self.device)


def fit(ids: list[int], max_tokens: int, context: int, *, shared: bool) -> tuple[list[int], int, tuple[str, ...]]:
    """(prompt, tokens that may be generated, notes) that fit a context.

    Where prompt and answer share the context, the answer's part shrinks first, down to a quarter of the context; then
    the prompt loses its beginning. A seq2seq model reads its prompt apart from the answer.
    """
    kept = ids[-max(1, room(context, max_tokens, shared=shared)) :]
    reserve = context - room(context, max_tokens, shared=shared)
    notes = []
    if len(kept) < len(ids):
        cut = len(ids) - len(kept)
        notes.append(
            f"the prompt has {len(ids):,} tokens and the model reads {context:,}"
            f"{f', {reserve:,} of them kept for the answer' if reserve else ''}: its first {cut:,} tokens were cut"
        )
    budget = min(max_tokens, context - len(kept)) if shared else max_tokens
    if budget < max_tokens:
        notes.append(f"at most {budget:,} tokens are generated, not {max_tokens:,}: the model reads {context:,} in all")
    return kept, budget, tuple(notes)


def room(context: int, max_tokens: int, *, shared: bool) -> int:
    """Tokens that a prompt may have; where the answer shares the context, at least a quarter of it is the answer's."""
    return context - (min(max_tokens, max(1, context // _MOST_RESERVED)) if shared else 0)


def choose(logits: torch.Tensor, sampling: Sampling, source: torch.Generator) -> int:
    """The next token from logits of shape (vocabulary,), float32 on the CPU.

    Raises:
        DataError: the logits are not numbers; the weights are damaged or diverged.
    """
    if bool(torch.isnan(logits).any()):
        raise DataError("the model's output is not a number", mend="its weights are damaged or training diverged")
    if sampling.temperature == 0:
        return int(logits.argmax())
    probabilities, order = torch.softmax(logits / sampling.temperature, dim=-1).sort(descending=True, stable=True)
    # The token that crosses the bar still belongs to the nucleus, so that the likeliest one always does.
    probabilities[probabilities.cumsum(-1) - probabilities >= sampling.top_p] = 0
    return int(order[torch.multinomial(probabilities, 1, generator=source)])
