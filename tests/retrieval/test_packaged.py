"""The encoder that a package brings, by its name."""

from __future__ import annotations

import pytest

from llmkit.errors import UnavailableError
from llmkit.retrieval import embed

pytestmark = pytest.mark.skipif(embed._packaged_folder() is None, reason="the offline extra is not installed")


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "all-minilm-l6-v2"])
def test_it_is_found_with_the_digest_that_an_index_knows_it_by(name):
    found = embed.packaged_encoder(name)
    assert found == embed.find_encoder(None)
    assert (found.path / "model.safetensors").is_file()


def test_other_names_are_left_to_others():
    assert embed.packaged_encoder("bert") is None
    assert embed.packaged_encoder("./all-MiniLM-L6-v2") is None


def test_where_it_is_not_installed_its_name_is_the_catalogues(monkeypatch, tmp_path):
    from llmkit.registry.catalog import CATALOG, PinnedRef
    from llmkit.registry.store import Registry
    from llmkit.stages import models

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(embed, "_packaged_folder", lambda: None)
    assert embed.packaged_encoder("all-MiniLM-L6-v2") is None
    found = models.find_model("all-MiniLM-L6-v2", Registry(tmp_path)).raw["model"]
    assert isinstance(found.value, PinnedRef) and found.value.entry is CATALOG["all-minilm-l6-v2"]
    with pytest.raises(UnavailableError) as caught:
        models.folder_of(found)
    assert "pip install 'llmkit[offline]'" in caught.value.mend


def test_it_can_be_named_as_a_model(tmp_path):
    from llmkit.registry.store import Registry
    from llmkit.stages import models

    found = models.find_model("all-MiniLM-L6-v2", Registry(tmp_path))
    assert found.raw["model"].digest == embed.find_encoder(None).digest
    assert models.folder_of(found.raw["model"]) == embed.find_encoder(None).path
