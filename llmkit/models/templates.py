"""Chat templates (Jinja) of the families' published formats, for tokenizers that come without one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmkit.errors import ConfigError, NotFoundError, closest
from llmkit.models.families import ChatFormat

_CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}"
    "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)

# The system message stands inside the first instruction.
_LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}"
    "{% if message['role'] == 'user' %}"
    "{{ bos_token }}[INST] {{ (system if loop.first else '') + message['content'] | trim }} [/INST]"
    "{% elif message['role'] == 'assistant' %} {{ message['content'] | trim }} {{ eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant turns may follow the system message') }}{% endif %}"
    "{% endfor %}"
)

_VICUNA = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] | trim }} "
    "{% elif message['role'] == 'user' %}USER: {{ message['content'] | trim }} "
    "{% else %}ASSISTANT: {{ message['content'] | trim }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)

_GEMMA = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('Gemma has no system role') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ message['content'] | trim }}<end_of_turn>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)

CHAT_TEMPLATES: Mapping[ChatFormat, str] = MappingProxyType(
    {"chatml": _CHATML, "llama2": _LLAMA2, "llama3": _LLAMA3, "vicuna": _VICUNA, "gemma": _GEMMA}
)
"""Format -> template. Sources: github.com/openai/openai-python (chatml), llama.com/docs (llama2, llama3),
github.com/lm-sys/FastChat (vicuna), ai.google.dev/gemma/docs (gemma)."""

_MARKER = re.compile(r"<\|[^<>|\s]+\|>|<(?:start|end)_of_turn>")
"""Control tokens as chat formats write them: `<|im_end|>`, `<|eot_id|>`, `<end_of_turn>`."""


@dataclass(frozen=True)
class Template:
    """A chat template, and by what it is known.

    Attributes:
        text: Jinja.
        name: of the published format, of the file that it came from, or `the tokenizer's own`.
    """

    text: str
    name: str

    @property
    def digest(self) -> str:
        """sha256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def markers(self) -> tuple[str, ...]:
        """The control tokens that it writes itself, each once, in their order."""
        return tuple(dict.fromkeys(_MARKER.findall(self.text)))


def named(text: str) -> Template:
    """A tokenizer's template; a published format goes by its name."""
    return Template(
        text, next((name for name, known in CHAT_TEMPLATES.items() if known == text), "the tokenizer's own")
    )


def find_template(asked: str) -> Template:
    """The template that a user asks for: a format by its name, or a file of Jinja.

    Raises:
        NotFoundError: it is neither.
        ConfigError: the file is no template.
    """
    known = next((text for name, text in CHAT_TEMPLATES.items() if name == asked), None)
    if known is not None:
        return Template(known, asked)
    path = Path(asked).expanduser()
    if not path.is_file():
        raise NotFoundError(
            f"no chat template '{asked}'{closest(asked, CHAT_TEMPLATES)}",
            where="--template",
            mend=f"name one of {', '.join(sorted(CHAT_TEMPLATES))}, or a file of Jinja",
        )
    try:
        text = path.read_text(encoding="utf-8")
        ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"]).parse(text)
    except (TemplateError, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", None)
        raise ConfigError(
            f"this is no Jinja template: {error}", where=f"{path}:{line}" if line else str(path), mend="mend the file"
        ) from error
    return Template(text, path.name)
