"""Pictures as data URLs: by their content, whatever their names say."""

from base64 import b64decode

import pytest

from llmkit.errors import DataError, NotFoundError
from llmkit.generation import images
from llmkit.generation.images import data_url

PNG = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
SIGNED = {"png": PNG, "jpeg": b"\xff\xd8\xff\xe0rest", "gif": b"GIF89arest", "webp": b"RIFF\x08\x00\x00\x00WEBPrest"}


@pytest.mark.parametrize("kind", sorted(SIGNED))
def test_a_picture_is_told_by_its_content(tmp_path, kind):
    path = tmp_path / "misnamed.txt"
    path.write_bytes(SIGNED[kind])
    head, _, body = data_url(path).partition(",")
    assert head == f"data:image/{kind};base64" and b64decode(body) == SIGNED[kind]


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "empty"), (b"%PDF-1.7", "no picture"), (b"RIFF....WAVE", "no picture")]
)
def test_what_is_none_is_refused(tmp_path, content, said):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        data_url(path)


def test_one_that_is_too_large_or_missing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MOST_BYTES", 20)
    path = tmp_path / "x.png"
    path.write_bytes(PNG)
    with pytest.raises(DataError, match="MB"):
        data_url(path)
    with pytest.raises(NotFoundError, match="no such file"):
        data_url(tmp_path / "none.png")
