"""Fine-tuning examples as the tokens a model is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmkit.errors import DataError

if TYPE_CHECKING:
    from llmkit.data.chat import Example
    from llmkit.data.dataset import Dataset
    from llmkit.stages.finetune_lora import FinetuneConfig
    from llmkit.stages.tuning.task import Split
    from llmkit.train.examples import Fitted, Rendered


def fitted(dataset: Dataset, split: Split, tokenizer: Any, cfg: FinetuneConfig, *, chat: bool, limit: int) -> Fitted:
    """The examples of a split in tokens, within the limit; an empty held-out split stays empty.

    Raises:
        DataError: an example cannot be learned from, or is too long and the policy says so.
    """
    from llmkit.train.examples import Fitted, fit

    rendered = [_rendered(example, tokenizer, chat=chat) for example in dataset.examples(split)]
    if not rendered and split == "validation":
        return Fitted([], 0)
    return fit(rendered, limit, cfg.over_length)


def _rendered(example: Example, tokenizer: Any, *, chat: bool) -> Rendered:
    from llmkit.train.examples import render, render_pair

    where = f"{example.source}:{example.record}"
    if not example.prompt:
        return render_pair("", example.completion, tokenizer, where=where)
    if chat:
        messages = [{"role": message.role, "content": message.content} for message in example.messages]
        return render(messages, tokenizer, where=where)
    if len(example.prompt) > 1:
        raise DataError(
            "a conversation of several turns needs a chat template, and --task text has none",
            where=where,
            mend="use --task chat with a model whose tokenizer has a template",
        )
    return render_pair(example.prompt[0].content, example.completion, tokenizer, where=where)
