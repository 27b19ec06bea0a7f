"""What the parser of the command line complains of, in the words that the rest of llmkit uses."""

import pytest

from llmkit.cli.app import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["preprocess", "x", "--for", "chatt"],
            "--for: must be one of text, chat, label, span, preference, tag, not 'chatt'",
        ),
        (["preprocess", "x", "--for", "chatt"], "did you mean 'chat'?"),
        (["preprocess", "x", "--vocab-size", "many"], "--vocab-size: must be a whole number"),
        (["pretrain", "--data", "x", "--lr", "fast"], "--lr: must be a number"),
        (["preprocess", "x", "--dry-run", "0"], "a sample of no documents shows nothing"),
        (["preprocess"], "INPUT: is required"),
    ],
)
def test_a_wrong_value_is_named_by_its_flag(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
