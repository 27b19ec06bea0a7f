"""Fine-tuning examples as the tokens a model is trained on, and what must hold of them before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmkit.errors import DataError

if TYPE_CHECKING:
    from llmkit.config.sections import WordingOptions
    from llmkit.data.chat import Example
    from llmkit.models.templates import Template
    from llmkit.train.examples import Learn, Rendered

GIVE_ONE = "give one: --template chatml (or llama3, gemma, llama2, vicuna, or a file of Jinja)"


@dataclass(frozen=True)
class Wording:
    """How examples are written for a model.

    Attributes:
        tokenizer: with the template that is used, or with none.
        template: None where examples are plain text.
        added: control tokens of the template that were new to the tokenizer, by their text.
        token_ids: their ids.
        fallback: whether plain text was chosen because there is no template.
    """

    tokenizer: Any
    learn: Learn = "assistant"
    template: Template | None = None
    added: tuple[str, ...] = ()
    token_ids: tuple[int, ...] = ()
    fallback: bool = False

    @property
    def chat(self) -> bool:
        return self.template is not None

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is stored with what was trained; the template itself is in its tokenizer. JSON-ready."""
        if self.template is None:
            return {"task": "text", "learn": self.learn}
        template = {"name": self.template.name, "sha256": self.template.digest, "added": list(self.added)}
        return {"task": "chat", "learn": self.learn, "template": template}

    @property
    def notes(self) -> list[str]:
        """What a user must know of the choice."""
        if self.fallback:
            return [
                "the model has no chat template: prompts and completions are learned as plain text; --template chatml "
                "would teach it a format of conversations"
            ]
        if self.added and self.template is not None:
            said = ", ".join(self.added)
            return [f"the template {self.template.name} needs {said}, which are new to this model and learned with it"]
        return []

    def rendered(self, example: Example) -> Rendered:
        """An example in tokens.

        Raises:
            DataError: it cannot be learned from, or begins twice.
        """
        from llmkit.train.examples import render, render_pair

        where = f"{example.source}:{example.record}"
        if not example.prompt:
            return self.begun(render_pair("", example.completion, self.tokenizer, where=where, learn=self.learn))
        if self.chat:
            messages = [{"role": message.role, "content": message.content} for message in example.messages]
            return self.begun(render(messages, self.tokenizer, where=where, learn=self.learn))
        if len(example.prompt) > 1:
            raise DataError(
                "a conversation of several turns needs a chat template, and there is none",
                where=where,
                mend=f"{GIVE_ONE}; --task text is for single prompts and their completions",
            )
        prompt = example.prompt[0].content
        return self.begun(render_pair(prompt, example.completion, self.tokenizer, where=where, learn=self.learn))

    def begun(self, example: Rendered) -> Rendered:
        """The example; raises DataError, with the template and the record, where it begins with several BOS tokens."""
        from llmkit.train.examples import begins

        count = begins(example, self.tokenizer.bos_token_id)
        if count > 1:
            raise DataError(
                f"the text begins with {count} beginning-of-text tokens ({self.tokenizer.bos_token}), and one is right "
                f"(template: {self.template.name if self.template else 'none'})",
                where=example.where or None,
                mend="take one of them out of the template, or out of the record",
            )
        return example


def wording(tokenizer: Any, task: str, options: WordingOptions) -> Wording:
    """How a task writes its examples: through the template that is asked for, that of the tokenizer, or none.

    The tokenizer gets the template, with its control tokens; for plain text it loses the one it has, so that a model
    is asked in the form in which it was taught.

    Raises:
        NotFoundError: no such template.
        ConfigError: it is no template.
        DataError: a chat is wanted and there is no template.
    """
    from llmkit.models.templates import CHAT_TEMPLATES, find_template, named
    from llmkit.models.tokens import add_tokens, missing_tokens

    if task == "text":
        tokenizer.chat_template = None
        return Wording(tokenizer, options.learn)
    if options.template:
        template = find_template(options.template)
    elif tokenizer.chat_template:
        template = named(tokenizer.chat_template)
    elif task == "chat":
        raise DataError("the model's tokenizer has no chat template, and --task chat needs one", mend=GIVE_ONE)
    else:
        return Wording(tokenizer, options.learn, fallback=True)
    # A template that came with the tokenizer knows which of its marks are tokens; ours, and a given one, may not.
    missing: Sequence[str] = ()
    if options.template or template.name in CHAT_TEMPLATES:
        missing = missing_tokens(tokenizer, template.markers)
    tokenizer.chat_template = template.text
    ids = add_tokens(tokenizer, missing) if missing else ()
    return Wording(tokenizer, options.learn, template, tuple(missing), tuple(ids))


def check_ends(found: Sequence[Rendered], words: Wording, *, over_length: str) -> list[str]:
    """Warnings about how many examples teach the model to stop.

    Raises:
        DataError: none of them does.
    """
    from llmkit.train.examples import ended, ends_of

    ends = ends_of(words.tokenizer)
    taught = sum(ended(example, ends) for example in found)
    said = f"of {len(found):,} examples {taught:,} end with a learned end of turn or text"
    if not taught:
        raise DataError(
            f"{said}: the model would never learn to stop",
            mend="raise --sequence-length, or use --over-length drop: it was cut off"
            if over_length != "error"
            else "use a --template that ends a turn of the assistant by a control token, or by {{ eos_token }}",
        )
    return [f"{said}: the others were cut off before it"] if taught < len(found) / 2 else []
