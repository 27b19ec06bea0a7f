"""Chat templates by name or from a file."""

from __future__ import annotations

import pytest

from llmkit.errors import ConfigError, NotFoundError
from llmkit.models.templates import CHAT_TEMPLATES, find_template, named


def test_a_published_format_is_known_by_its_name_and_by_its_text():
    for name, text in CHAT_TEMPLATES.items():
        assert find_template(name).text == text
        assert named(text).name == name
    assert named("{{ messages }}").name == "the tokenizer's own"


@pytest.mark.parametrize(
    ("name", "markers"),
    [
        ("chatml", ("<|im_start|>", "<|im_end|>")),
        ("llama3", ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
        ("gemma", ("<start_of_turn>", "<end_of_turn>")),
        ("llama2", ()),
        ("vicuna", ()),
    ],
)
def test_the_control_tokens_that_a_template_writes_are_found(name, markers):
    assert find_template(name).markers == markers


def test_a_file_of_jinja_is_a_template(tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text("{% for m in messages %}<|say|>{{ m.content }}{% break %}{% endfor %}")
    found = find_template(str(file))
    assert (found.name, found.markers) == ("mine.jinja", ("<|say|>",))
    assert found.digest != find_template("chatml").digest


def test_a_file_that_is_no_template_is_named_with_its_line(tmp_path):
    file = tmp_path / "bad.jinja"
    file.write_text("{% for m in messages %}\n{{ m.content }\n{% endfor %}")
    with pytest.raises(ConfigError, match="no Jinja template") as caught:
        find_template(str(file))
    assert caught.value.where == f"{file}:2"


def test_a_miss_names_the_closest():
    with pytest.raises(NotFoundError, match="did you mean 'llama3'") as caught:
        find_template("lama3")
    assert "chatml" in caught.value.mend
