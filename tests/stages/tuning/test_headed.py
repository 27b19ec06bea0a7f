"""Classes, values and tags: what the tasks make of a dataset, and what they refuse."""

from __future__ import annotations

import json

import pytest
import torch

from llmkit.config.sections import SplitOptions
from llmkit.data.dataset import Dataset
from llmkit.data.examples.build import TrainingSetOptions, build_training_set
from llmkit.data.tokenizer import save_tokenizer, train_tokenizer
from llmkit.errors import DataError, UsageError
from llmkit.models.build import SpecialIds, new_model
from llmkit.reporting.reporter import Silent
from llmkit.stages.finetune_lora import FinetuneConfig
from llmkit.stages.tuning.data import schema_of
from llmkit.stages.tuning.table import open_task
from llmkit.stages.tuning.task import Given

SMALL = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64},
}


@pytest.fixture(scope="session")
def bases(tmp_path_factory):
    tokenizer = train_tokenizer(["the film was good and the end was bad\n"] * 20, 400).tokenizer
    folders = {}
    for name, overrides in SMALL.items():
        folders[name] = tmp_path_factory.mktemp("models") / name
        ids = SpecialIds.of(tokenizer)
        model = new_model(
            name, "tiny", vocab_size=len(tokenizer), ids=ids, sequence_length=64, seed=0, overrides=overrides
        )
        model.save_pretrained(folders[name])
        save_tokenizer(tokenizer, folders[name])
    return folders


@pytest.fixture
def opened(bases, tmp_path):
    """The task that a command line would open on rows, with the file's path."""

    def make(*rows, model="bert", held=None, **options):
        files = [tmp_path / "train.jsonl", tmp_path / "dev.jsonl"][: 1 if held is None else 2]
        for file, content in zip(files, (rows, held), strict=False):
            file.write_text("".join(f"{json.dumps(row)}\n" for row in content))
        cfg = FinetuneConfig(model=str(bases[model]), data=str(files[0]), **options)
        chosen = TrainingSetOptions(
            strict=True, repeats="keep", conflicts="keep", split=SplitOptions(validation=0.1, test=0)
        )
        build_training_set(files, tmp_path / "set", schema_of(cfg, files[0]), chosen, reporter=Silent())
        return open_task(Given(cfg, Dataset.open(tmp_path / "set"), {"model": bases[model]}, tmp_path))

    return make


def labelled(*labels, text="the film"):
    return [{"text": f"{text} {n}", "label": label} for n, label in enumerate(labels)]


MANY = labelled(*["good", "bad", "good"] * 20)


# What is learned


def test_the_labels_are_those_of_the_training_split_in_an_order_that_does_not_depend_on_the_rows(opened):
    task = opened(*labelled("10", "9", "x", "2"), task="classify")
    assert task.head.labels == ("2", "9", "10", "x")
    assert task.facts["labels"] == ["2", "9", "10", "x"]
    assert task.loaded.model.config.label2id == {"2": 0, "9": 1, "10": 2, "x": 3}


def test_what_a_classifier_is_compared_with_is_the_commonest_class(opened):
    held = labelled("good", "bad", "bad", "good", "good", text="the end")
    task = opened(*MANY, held=held)
    assert task.heads == ("bert.pooler", "classifier")
    before = task.baseline(task.loaded.model)
    assert [record.scores["accuracy"].value for record in before] == [1, 0, 0, 1, 1]
    after = task.records(task.loaded.model)
    assert [record.id for record in after] == [record.id for record in before]
    details = task.details(after)
    assert details["compared_with"] == "always 'good'"
    assert sum(map(sum, details["confusion"]["counts"])) == 5
    assert task.shown()[0] == {"prompt": "the end 0", "gold": "good"}
    assert set(task.answers(task.loaded.model)) <= {"good", "bad"}


def test_macro_f1_is_the_mean_over_the_classes(opened):
    from llmkit.stages.tuning.labels import _macro_f1

    # scikit-learn: f1_score(["a", "a", "b", "c"], ["a", "b", "b", "a"], average="macro") == (1/2 + 2/3 + 0) / 3
    pairs = {("a", "a"): 1, ("a", "b"): 1, ("b", "b"): 1, ("c", "a"): 1}
    assert _macro_f1(pairs, ["a", "b", "c"]) == pytest.approx((0.5 + 2 / 3) / 3)


def test_values_are_scaled_for_the_model_and_told_in_their_own_unit(opened):
    rows = [{"text": f"the film {n}", "label": 100 + n / 2} for n in range(40)]
    task = opened(*rows, held=labelled(*[100 + n for n in range(7)], text="the end"), task="regress")
    values = [row["label"] for row in rows]
    mean = sum(values) / 40
    assert task.facts["mean"] == pytest.approx(mean)
    targets = [example.target for example in task.training.examples]
    assert sum(targets) == pytest.approx(0, abs=1e-9)
    assert sum(target**2 for target in targets) / 40 == pytest.approx(1)
    task.loaded.model.classifier.weight.data.zero_()
    task.loaded.model.classifier.bias.data.fill_(1.0)
    assert task.answers(task.loaded.model)[0] == f"{mean + task.facts['scale']:.4g}"
    error = (mean + task.facts["scale"] - 100) ** 2
    assert task.records(task.loaded.model)[0].scores["squared_error"].value == pytest.approx(error)
    assert task.baseline(task.loaded.model)[0].scores["squared_error"].value == pytest.approx((mean - 100) ** 2)


def test_tags_that_mark_spans_are_scored_as_spans_and_others_word_by_word(opened):
    rows = [{"tokens": ["the", "film", str(n)], "tags": ["O", "B-X", "O"]} for n in range(20)]
    held = [{"tokens": ["a", "film"], "tags": ["O", "B-X"]}]
    task = opened(*rows, held=held)
    assert task.metrics == ("span_f1", "accuracy")
    assert task.head.labels == ("O", "B-X")
    assert task.shown()[0] == {"prompt": "a film", "gold": "X: film"}
    assert task.baseline(None)[0].scores["span_f1"].weight == 1
    parts = [{**row, "tags": ["DET", "NOUN", "NUM"]} for row in rows]
    plain = opened(*parts, held=[{"tokens": ["a", "film"], "tags": ["DET", "NOUN"]}], model="gpt2")
    assert plain.metrics == ("accuracy",)
    assert plain.facts["word_token"] == "last"
    assert plain.shown()[0]["gold"] == "a/DET film/NOUN"


def test_a_probe_and_a_fresh_model_are_the_same_each_time(opened):
    task = opened(*MANY)
    inputs = task.probe().inputs
    with torch.no_grad():
        once, again = (task.fresh().eval()(**inputs).logits for _ in range(2))
    assert torch.equal(once, again)


def test_long_texts_are_counted_by_what_was_done_to_them(opened):
    rows = [*MANY, {"text": "the film " * 60, "label": "good"}]
    counts = opened(*rows, over_length="truncate").part("train").counts
    assert (counts["truncated"], counts["dropped"], counts["limit"]) == (1, 0, 64)
    assert opened(*rows, over_length="drop").part("train").counts["dropped"] == 1


# What is refused


@pytest.mark.parametrize(
    ("rows", "held", "options", "match", "line"),
    [
        (MANY, labelled("good", "awful", text="x"), {}, "'awful' is none of those that the examples to train on", 2),
        (labelled("a", "a", "a"), None, {}, "have the label 'a': nothing to tell apart", 1),
        (labelled("1", "2", "many"), None, {"task": "regress"}, "the label 'many' is no number", 3),
        (labelled("4", "4"), None, {"task": "regress"}, "have the value 4: there is nothing to learn", 1),
        ([*MANY, {"text": "the film " * 60, "label": "good"}], None, {}, "longer than the limit of 64", 61),
        (
            [*labelled("a", "b"), {"text": "a", "text_pair": "b", "label": "a"}],
            None,
            {},
            "written as pair, and the file began with text",
            3,
        ),
        (
            [{"tokens": ["a"], "tags": ["O"]}, {"tokens": ["b"], "tags": ["X"]}],
            [{"tokens": ["c"], "tags": ["Y"]}],
            {},
            "the tag 'Y' of 'c' is none of those",
            1,
        ),
        ([{"tokens": ["a"], "tags": ["O"]}], None, {}, "have the tag 'O': there is nothing to tell apart", 1),
    ],
)
def test_what_cannot_be_learned_is_refused_with_its_line(opened, rows, held, options, match, line):
    with pytest.raises(DataError, match=match) as caught:
        task = opened(*rows, held=held, **options)
        task.part("train"), task.part("validation")
    assert caught.value.exit_code == 4
    assert str(caught.value.where).endswith(f".jsonl:{line}")
    assert caught.value.mend


def test_single_texts_and_pairs_of_two_files_do_not_mix(opened):
    with pytest.raises(DataError, match="a pair, and .*train.jsonl:1 is not"):
        opened(*MANY, held=[{"text": "a", "text_pair": "b", "label": "good"}])


@pytest.mark.parametrize(
    ("labels", "match"), [(("1.5", "2", "2.5"), "such as 1.5"), ([str(n) for n in range(60)], "5. different numbers")]
)
def test_numbers_are_taken_for_classes_only_where_that_is_said(opened, labels, match):
    with pytest.raises(UsageError, match=match) as caught:
        opened(*labelled(*labels))
    assert "--task regress" in caught.value.mend
    assert opened(*labelled(*labels), task="classify").head.labels


def test_a_labelled_text_is_not_split(opened):
    with pytest.raises(UsageError, match="has not the label of the whole"):
        opened(*MANY, over_length="split")


def test_data_that_are_all_held_out_say_so(bases, tmp_path):
    file = tmp_path / "dev.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in MANY))
    build_training_set([file], tmp_path / "set", "label", TrainingSetOptions(), reporter=Silent())
    cfg = FinetuneConfig(model="m", data=str(file))
    with pytest.raises(DataError, match="all 60 are held out"):
        open_task(Given(cfg, Dataset.open(tmp_path / "set"), {"model": bases["bert"]}, tmp_path))


def test_what_is_tuned_further_keeps_its_labels_and_their_order(opened, bases, tmp_path):
    from llmkit.config.sections import LoraOptions
    from llmkit.models.adapters import NewParts, attach, save_adapter

    first = opened(*labelled("b", "c", "a", "b"))
    model = attach(first.loaded.model, "masked", LoraOptions(rank=2), new=NewParts(heads=first.heads), seed=0)
    folder = tmp_path / "adapter"
    save_adapter(model, folder)
    (folder / "task.json").write_text(json.dumps(dict(first.facts)))

    def again(*labels, **options):
        file = tmp_path / "more.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in labelled(*labels)))
        build_training_set([file], tmp_path / "more", "label", TrainingSetOptions(), reporter=Silent())
        cfg = FinetuneConfig(model="m", data=str(file), **options)
        paths = {"model": bases["bert"], "adapter": folder}
        return open_task(Given(cfg, Dataset.open(tmp_path / "more"), paths, tmp_path))

    task = again("c", "a", "c")
    assert task.head.labels == ("a", "b", "c")
    assert [example.target for example in task.training.examples] == [2, 0, 2]
    with pytest.raises(DataError, match="'d' is none of those that the model tells apart: 'a', 'b', 'c'"):
        again("a", "d").part("train")
    with pytest.raises(DataError, match="was tuned for the task 'classify', and the data are for 'regress'"):
        again("1", "2", task="regress")


def test_pairs_are_learned_as_pairs(opened):
    rows = [{"premise": f"the film {n}", "hypothesis": "was good", "label": str(n % 2)} for n in range(8)]
    task = opened(*rows, held=[{"premise": "the end", "hypothesis": "was bad", "label": "1"}], model="gpt2")
    tokenizer = task.loaded.tokenizer
    assert task.held.examples[0].ids.tolist() == tokenizer("the end", "was bad")["input_ids"]
    assert tokenizer.eos_token_id in task.held.examples[0].ids[:-1]
    assert task.shown()[0]["prompt"] == "the end\nwas bad"
