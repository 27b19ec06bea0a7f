"""A Modelfile, by which Ollama takes in a GGUF file: https://github.com/ollama/ollama/blob/main/docs/modelfile.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from llmkit.errors import UsageError

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class _Format:
    """A chat format as Ollama's Go template, and as plain Python, by which a tokenizer's own template is recognised.

    Neither writes BOS: Ollama's engine does, where the GGUF file says so.
    """

    go: str
    written: Callable[[Messages, str], str]


def _chatml(messages: Messages, eos: str) -> str:
    turns = "".join(f"<|im_start|>{each['role']}\n{each['content']}<|im_end|>\n" for each in messages)
    return turns + "<|im_start|>assistant\n"


def _llama3(messages: Messages, eos: str) -> str:
    head = "<|start_header_id|>{}<|end_header_id|>\n\n"
    turns = "".join(head.format(each["role"]) + each["content"] + "<|eot_id|>" for each in messages)
    return turns + head.format("assistant")


def _vicuna(messages: Messages, eos: str) -> str:
    forms = {
        "system": "{} ",
        "user": "USER: {} ",
        "assistant": "ASSISTANT: {}" + eos.replace("{", "{{").replace("}", "}}"),
    }
    return "".join(forms[each["role"]].format(each["content"]) for each in messages) + "ASSISTANT:"


_FORMATS = (
    _Format(
        "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n",
        _chatml,
    ),
    _Format(
        "{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>{{ end }}"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        _llama3,
    ),
    _Format(
        '{{- range .Messages }}{{ if eq .Role "system" }}{{ .Content }} '
        '{{ else if eq .Role "user" }}USER: {{ .Content }} '
        "{{ else }}ASSISTANT: {{ .Content }}EOS{{ end }}{{ end }}ASSISTANT:",
        _vicuna,
    ),
)
_EXCHANGES: Sequence[Messages] = (
    [{"role": "user", "content": "one"}],
    [
        {"role": "system", "content": "two"},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "four"},
        {"role": "user", "content": "five\nsix"},
    ],
)


def modelfile(
    tokenizer: Any, file: str, *, stops: Sequence[int], context: int | None, system: str | None = None
) -> str:
    """The text of a Modelfile.

    Args:
        file: the GGUF file beside it.
        stops: ids that end what the model writes.
        system: what every conversation begins with.

    Raises:
        UsageError: the chat template is in no format that is translated here.
    """
    lines = [f"FROM ./{file}", f"TEMPLATE {_quoted(_template(tokenizer))}"]
    lines += [f'PARAMETER stop "{tokenizer.convert_ids_to_tokens(stop)}"' for stop in stops]
    if context:
        lines.append(f"PARAMETER num_ctx {context}")
    if system:
        lines.append(f"SYSTEM {_quoted(system)}")
    return "\n".join(lines) + "\n"


def _template(tokenizer: Any) -> str:
    if not tokenizer.chat_template:
        return "{{ .Prompt }}"  # a model of plain text goes on from what it is given
    eos = tokenizer.eos_token or ""
    try:
        written = [_rendered(tokenizer, messages) for messages in _EXCHANGES]
    except TemplateError:
        written = []
    for form in _FORMATS:
        if written == [form.written(messages, eos) for messages in _EXCHANGES]:
            return form.go.replace("EOS", eos)
    raise UsageError(
        "this chat template is neither ChatML nor llama3's nor vicuna's, and Ollama has its own language for templates",
        mend="use --to gguf, which holds the template, and write the Modelfile's TEMPLATE by hand",
    )


def _rendered(tokenizer: Any, messages: Messages) -> str:
    text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    return text.removeprefix(tokenizer.bos_token or "")


def _quoted(text: str) -> str:
    if '"""' in text:
        raise UsageError('a text of a Modelfile cannot have """ in it', mend="leave the three quotes out")
    return f'"""{text}"""'
