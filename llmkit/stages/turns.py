"""Where a model that writes must stop, for programs that do not work it out from the chat template."""

from __future__ import annotations

from typing import Any

from llmkit.errors import LlmkitError


def stops_of(tokenizer: Any) -> list[int]:
    """Ids that end what a causal model writes: the end of a turn in its template, then the end of a text."""
    from llmkit.generation.local import LocalModel

    ends = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    if not tokenizer.chat_template:
        return ends
    speaker = LocalModel(None, tokenizer, "causal")
    try:
        exchange = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        mark = speaker.encode_example(exchange).completion[-1]
    except LlmkitError:  # a template that cannot be cut into turns
        return ends
    if mark not in ends and tokenizer.convert_ids_to_tokens(mark) in speaker.special_tokens:
        ends.insert(0, mark)
    return ends
