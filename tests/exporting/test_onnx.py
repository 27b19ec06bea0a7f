"""ONNX graphs, run here by ONNX Runtime on shapes that nothing was traced or checked with."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from llmkit.errors import RunError, UnavailableError
from llmkit.exporting.onnx import INT8, MODEL, write_int8, write_onnx
from llmkit.exporting.opening import Opened, open_model
from llmkit.models.encoders import load_encoder, pooled
from llmkit.models.load import TASK_FILE
from llmkit.models.task_models import Head, with_head

pytest.importorskip("onnxscript")
runtime = pytest.importorskip("onnxruntime")


def session(folder, name=MODEL):
    return runtime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])


def run(folder, inputs, name=MODEL):
    return session(folder, name).run(None, {key: value.numpy() for key, value in inputs.items()})


def batch(rows, length, seed=7):
    source = torch.Generator().manual_seed(seed)
    ids = torch.randint(110, 260, (rows, length), generator=source)
    mask = torch.ones_like(ids)
    mask[-1, length - length // 4 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def no_pairs(facts, inputs):
    """For graphs that tell the two texts of a pair apart: one text."""
    return {"token_type_ids": torch.zeros_like(inputs["input_ids"])} if "token_type_ids" in facts.inputs else {}


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_the_graph_gives_torchs_logits_for_any_rows_and_length(family, base, tmp_path):
    opened = open_model(base(family))
    facts = write_onnx(opened, tmp_path)
    assert facts.difference <= facts.tolerance
    for rows, length in ((1, 5), (4, 31), (2, 64)):
        inputs = batch(rows, length)
        if family == "t5":
            inputs["decoder_input_ids"] = inputs["input_ids"][:, :3]
        inputs |= no_pairs(facts, inputs)
        assert list(facts.inputs) == [each.name for each in session(tmp_path).get_inputs()]
        with torch.no_grad():
            wanted = opened.model(**inputs).logits.numpy()
        found = run(tmp_path, inputs)[0]
        read = np.ones(found.shape[:2], bool) if family == "t5" else inputs["attention_mask"].numpy() == 1
        assert np.abs(found - wanted)[read].max() < 1e-4 * np.abs(wanted).max()


def whole(folder, head, out, *, seed=0):
    """A model that was tuned whole for a head."""
    made = with_head(folder, head, seed=seed).loaded
    made.model.save_pretrained(out)
    made.tokenizer.save_pretrained(out)
    (out / TASK_FILE).write_text(json.dumps({"task": head.kind, **head.facts()}))
    return open_model(out)


def test_a_classifier_on_a_causal_model_reads_the_last_real_token(base, tmp_path):
    opened = whole(base("llama"), Head("sequence", ("a", "b", "c")), tmp_path / "m")
    write_onnx(opened, tmp_path)
    inputs = batch(3, 12)
    # The pad id inside of a text, and as its last token: what is padding is said by the mask.
    inputs["input_ids"][0, -1] = inputs["input_ids"][2, 3] = opened.config.pad_token_id
    found = run(tmp_path, inputs)[0]
    for row in range(3):
        real = inputs["attention_mask"][row].sum()
        with torch.no_grad():
            states = opened.model.base_model(input_ids=inputs["input_ids"][row : row + 1, :real])[0]
            assert np.allclose(found[row], opened.model.score(states)[0, -1].numpy(), atol=1e-4)


def test_a_tagger_and_a_reader_of_an_encoder(base, tmp_path):
    folder = base("bert")
    for head, names in (
        (Head("token", ("O", "B", "I")), ["logits"]),
        (Head("span"), ["start_logits", "end_logits"]),
    ):
        out = tmp_path / head.kind
        opened = whole(folder, head, out)
        facts = write_onnx(opened, out)
        assert list(facts.outputs) == names
        inputs = batch(2, 9)
        found = run(out, inputs | no_pairs(facts, inputs))
        with torch.no_grad():
            wanted = opened.model(**inputs)
        read = inputs["attention_mask"].numpy() == 1
        for name, values in zip(names, found, strict=True):
            right = wanted[name].numpy()
            assert np.abs(values - right)[read].max() < 1e-4


@pytest.mark.parametrize("pooling", ["mean", "lasttoken"])
def test_an_encoder_gives_vectors_of_length_one(pooling, base, tmp_path):
    folder = base("bert")
    (folder / TASK_FILE).write_text(json.dumps({"task": "embed", "pooling": pooling, "limit": 64}))
    opened = open_model(folder)
    assert opened.use == "embed"
    facts = write_onnx(opened, tmp_path)
    inputs = batch(3, 17)
    found = run(tmp_path, inputs | no_pairs(facts, inputs))[0]
    with torch.no_grad():
        states = load_encoder(folder).loaded.model(**inputs)[0]
    assert np.allclose(found, pooled(states, inputs["attention_mask"], pooling).numpy(), atol=1e-5)
    assert np.allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-5)


def test_int8_runs_is_smaller_and_mostly_agrees(base, tmp_path):
    opened = open_model(base("llama", hidden_size=128, intermediate_size=256))
    write_onnx(opened, tmp_path)
    facts = write_int8(opened, tmp_path)
    assert facts.bytes == (tmp_path / INT8).stat().st_size
    assert facts.ratio == facts.bytes / (tmp_path / MODEL).stat().st_size < 0.6
    inputs = batch(2, 20)
    exact, rounded = run(tmp_path, inputs)[0], run(tmp_path, inputs, INT8)[0]
    read = inputs["attention_mask"].numpy() == 1
    assert (exact.argmax(-1) == rounded.argmax(-1))[read].mean() > 0.8
    assert facts.agreement > 0.8
    assert 0 < np.abs(exact - rounded)[read].max() < 0.2 * np.abs(exact).max()


def test_a_classifier_is_quantised_too_and_leaves_no_other_file(base, tmp_path):
    opened = whole(base("bert"), Head("sequence", ("a", "b", "c")), tmp_path / "m")
    out = tmp_path / "out"
    out.mkdir()
    facts = write_onnx(opened, out)
    assert write_int8(opened, out).ratio < 1
    inputs = batch(2, 20)
    inputs |= no_pairs(facts, inputs)
    exact, rounded = run(out, inputs)[0], run(out, inputs, INT8)[0]
    assert exact.shape == rounded.shape == (2, 3)
    assert np.abs(exact - rounded).max() < 0.2 * np.abs(exact).max()
    assert sorted(path.name for path in out.iterdir()) == [INT8, MODEL]


def test_weights_past_what_one_file_holds_lie_beside_the_graph(base, tmp_path, monkeypatch):
    monkeypatch.setattr("llmkit.exporting.onnx._LARGE", 1000)
    opened = open_model(base("bert"))
    facts = write_onnx(opened, tmp_path)
    small = write_int8(opened, tmp_path)
    assert (tmp_path / f"{MODEL}.data").stat().st_size > (tmp_path / MODEL).stat().st_size / 10
    assert facts.bytes == sum(path.stat().st_size for path in tmp_path.glob(f"{MODEL}*"))
    assert small.agreement > 0.5


def test_an_int8_model_that_says_something_else_is_doubted(base, tmp_path):
    opened = open_model(base(tie_word_embeddings=False))
    with torch.no_grad():  # one huge weight for each token leaves nothing of the others when they share a scale
        opened.model.lm_head.weight[:, 0] = 300.0
    write_onnx(opened, tmp_path)
    spoiled = write_int8(opened, tmp_path)
    assert spoiled.doubtful
    assert spoiled.agreement < 0.5


def test_a_graph_that_computes_something_else_fails(base, tmp_path, monkeypatch):
    opened = open_model(base())

    class Wrong:
        def __init__(self, *args, **kwargs):
            self.inner = session_class(*args, **kwargs)

        def run(self, names, feeds):
            return [values * 1.01 for values in self.inner.run(names, feeds)]

    session_class = runtime.InferenceSession
    monkeypatch.setattr(runtime, "InferenceSession", Wrong)
    with pytest.raises(RunError, match="computes something else"):
        write_onnx(opened, tmp_path)


def test_without_the_packages_it_says_what_to_install(base, tmp_path, monkeypatch):
    opened = open_model(base())
    monkeypatch.setattr("llmkit.exporting.packages.find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(UnavailableError, match="onnxscript") as caught:
        write_onnx(opened, tmp_path)
    assert caught.value.mend == "pip install 'llmkit[export]'"
    assert isinstance(opened, Opened)
