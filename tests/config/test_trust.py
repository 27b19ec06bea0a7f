"""A cloned repository cannot send documents to another machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmkit.config.trust import leaves_this_machine
from llmkit.errors import ConfigError


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "llmkit").mkdir()
    return tmp_path / "llmkit"


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:11434", "[::1]:80", "127.9.9.9"])
def test_this_machine_is_trusted(host: str) -> None:
    assert not leaves_this_machine(f"openai:http://{host}/v1#m")


@pytest.mark.parametrize(
    "host", ["models.example.org", "10.0.0.3:8000", "localhost.example.org", "127.0.0.1.nip.io", "0.0.0.0"]
)
def test_any_other_machine_is_not(host: str) -> None:
    assert leaves_this_machine(f"openai:http://{host}/v1#m")


def test_a_server_for_vectors_is_trusted_like_a_models() -> None:
    assert not leaves_this_machine("http://127.0.0.1:8000")
    assert leaves_this_machine("http://chroma.example:8000") and leaves_this_machine("https://10.0.0.1")


def test_registry_and_hub_references_are_no_endpoints() -> None:
    assert not leaves_this_machine("bot@3")
    assert not leaves_this_machine("org/name")
    assert not leaves_this_machine(None)


def test_the_user_may_allow_an_endpoint_in_a_file_of_their_own(own_folder: Path) -> None:
    (own_folder / "config.yaml").write_text("allow_endpoints: [https://models.example.org/v1/]\n")
    assert not leaves_this_machine("openai:https://models.example.org/v1#m")
    assert leaves_this_machine("openai:https://models.example.org/v2#m")


def test_a_wrong_key_in_that_file_is_an_error(own_folder: Path) -> None:
    (own_folder / "config.yaml").write_text("allow_endpoint: []\n")
    with pytest.raises(ConfigError, match="no such key: allow_endpoint"):
        leaves_this_machine("openai:https://models.example.org/v1#m")
