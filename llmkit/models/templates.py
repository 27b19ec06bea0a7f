"""Chat templates (Jinja) of the families' published formats, for tokenizers that come without one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

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
