from __future__ import annotations

import pytest

from llmkit.errors import UsageError
from llmkit.exporting.ollama import modelfile
from llmkit.models.templates import CHAT_TEMPLATES


@pytest.fixture
def speaking(tokenizer):
    def with_template(text):
        from copy import copy

        made = copy(tokenizer)
        made.chat_template = text
        return made

    return with_template


def test_a_modelfile_names_the_file_the_template_the_stops_and_the_system_message(tokenizer):
    turn = tokenizer.convert_tokens_to_ids("<|im_end|>")
    text = modelfile(
        tokenizer, "bot.gguf", stops=[turn, tokenizer.eos_token_id], context=128, system='Say "yes".\nNothing else.'
    )
    assert text == (
        "FROM ./bot.gguf\n"
        'TEMPLATE """{{- range .Messages }}<|im_start|>{{ .Role }}\n'
        "{{ .Content }}<|im_end|>\n"
        '{{ end }}<|im_start|>assistant\n"""\n'
        'PARAMETER stop "<|im_end|>"\n'
        'PARAMETER stop "<|endoftext|>"\n'
        "PARAMETER num_ctx 128\n"
        'SYSTEM """Say "yes".\nNothing else."""\n'
    )


@pytest.mark.parametrize(
    ("name", "mark"), [("chatml", "<|im_start|>"), ("llama3", "<|eot_id|>"), ("vicuna", "<|endoftext|>")]
)
def test_published_formats_are_translated(name, mark, speaking):
    text = modelfile(speaking(CHAT_TEMPLATES[name]), "m.gguf", stops=[], context=None)
    assert mark in text.split('"""')[1]
    assert "EOS" not in text


@pytest.mark.parametrize("name", ["llama2", "gemma"])
def test_formats_that_have_no_translation_are_refused(name, speaking):
    with pytest.raises(UsageError, match="Ollama has its own language"):
        modelfile(speaking(CHAT_TEMPLATES[name]), "m.gguf", stops=[], context=None)


def test_a_format_is_known_by_what_it_writes_and_not_by_its_text(speaking):
    other = CHAT_TEMPLATES["chatml"].replace("<|im_end|>\n", "<|im_end|>")
    with pytest.raises(UsageError):
        modelfile(speaking(other), "m.gguf", stops=[], context=None)


def test_a_model_of_plain_text_goes_on_from_the_prompt(speaking):
    assert 'TEMPLATE """{{ .Prompt }}"""' in modelfile(speaking(None), "m.gguf", stops=[], context=None)


def test_three_quotes_cannot_stand_in_a_text(tokenizer):
    with pytest.raises(UsageError, match='"""'):
        modelfile(tokenizer, "m.gguf", stops=[], context=None, system='a """ b')
