from __future__ import annotations

import json

from llmkit.registry.artifact import InputRef
from llmkit.registry.lineage import Change, Node, derived, diff, lineage
from llmkit.registry.store import Registry
from llmkit.registry.upkeep import remove

FILES = InputRef(role="files", ref="./docs", digest="f" * 64)


def chain(make):
    corpus = make("corpus", inputs=[FILES])
    tokenizer = make("corpus-tokenizer", "tokenizer", inputs=[corpus.as_input("data")])
    base = make("base", "model", inputs=[corpus.as_input("data"), tokenizer.as_input("tokenizer")])
    bot = make("bot", "adapter", inputs=[base.as_input("base"), corpus.as_input("data")])
    return corpus, tokenizer, base, bot


def outline(node: Node) -> list[object]:
    return [f"{node.role or ''}:{node.ref}:{node.state}", *[outline(branch) for branch in node.inputs]]


def test_lineage_leads_down_to_the_raw_files_and_shows_what_repeats_once(registry: Registry, make) -> None:
    *_, bot = chain(make)
    tree = lineage(registry.layout, bot)
    corpus = ["data:corpus@1:present", ["files:./docs:files"]]
    tokenizer = ["tokenizer:corpus-tokenizer@1:present", ["data:corpus@1:present"]]
    assert outline(tree) == [":bot@1:present", ["base:base@1:present", corpus, tokenizer], ["data:corpus@1:present"]]
    assert tree.inputs[1].repeated
    assert not tree.inputs[0].inputs[0].repeated


def test_lineage_leads_on_through_what_was_removed(registry: Registry, make) -> None:
    *_, bot = chain(make)
    remove(registry.layout, "base", 1, force=True)
    assert outline(lineage(registry.layout, bot))[1] == [
        "base:base@1:removed",
        ["data:corpus@1:present", ["files:./docs:files"]],
        ["tokenizer:corpus-tokenizer@1:present", ["data:corpus@1:present"]],
    ]


def test_what_was_never_here_is_shown_as_missing(registry: Registry, make) -> None:
    elsewhere = InputRef(role="base", ref="base@4", kind="model", digest="d" * 64)
    tree = lineage(registry.layout, make("bot", "adapter", inputs=[elsewhere]))
    assert outline(tree) == [":bot@1:present", ["base:base@4:missing"]]


def test_an_input_that_was_replaced_under_its_name_is_not_taken_for_it(registry: Registry, make) -> None:
    make("base", "model")
    other = InputRef(role="base", ref="base@1", kind="model", digest="d" * 64)
    assert lineage(registry.layout, make("bot", "adapter", inputs=[other])).inputs[0].state == "missing"


def test_an_alias_stands_in_for_a_removed_original(registry: Registry, make) -> None:
    corpus = make("corpus", key="k")
    base = make("base", "model", inputs=[corpus.as_input("data")])
    registry.reuse(corpus.manifest.key, {"dataset": "texts"})
    remove(registry.layout, "corpus", 1, force=True)
    node = lineage(registry.layout, base).inputs[0]
    assert (node.ref, node.state, node.alias_of) == ("texts@1", "present", "corpus@1")
    assert derived(registry.layout, registry.resolve("texts")) == (base,)


def test_lineage_is_json(registry: Registry, make) -> None:
    *_, bot = chain(make)
    content = json.loads(json.dumps(lineage(registry.layout, bot).to_json()))
    assert content["inputs"][0]["inputs"][0]["inputs"][0] == {
        "ref": "./docs",
        "kind": None,
        "digest": "f" * 64,
        "state": "files",
        "role": "files",
        "alias_of": None,
        "repeated": False,
        "inputs": [],
    }


def test_a_long_chain_of_diamonds_stays_small(registry: Registry, make) -> None:
    last = make("a0")
    for depth in range(1, 25):
        last = make(f"a{depth}", inputs=[last.as_input("left"), last.as_input("right")])

    def count(node: Node) -> int:
        return 1 + sum(count(branch) for branch in node.inputs)

    assert count(lineage(registry.layout, last)) == 1 + 2 * 24


def test_derived_names_what_was_made_directly_from_an_artifact(registry: Registry, make) -> None:
    corpus, tokenizer, base, bot = chain(make)
    assert {artifact.ref for artifact in derived(registry.layout, corpus)} == {tokenizer.ref, base.ref, bot.ref}
    assert derived(registry.layout, base) == (bot,)
    assert derived(registry.layout, bot) == ()


def test_the_same_content_under_another_name_is_not_what_was_used(registry: Registry, make) -> None:
    used, twin = make("one", files={"a": "x"}), make("two", files={"a": "x"})
    base = make("base", "model", inputs=[used.as_input("data")])
    assert used.digest == twin.digest
    assert derived(registry.layout, used) == (base,)
    assert derived(registry.layout, twin) == ()


def test_diff_names_each_key_that_differs_in_config_inputs_metrics_and_packages(make) -> None:
    corpus, other = make("corpus"), make("corpus", key="other")
    a = make(
        "base",
        "model",
        inputs=[corpus.as_input("data"), corpus.as_input("data"), FILES],
        config={"lora": {"rank": 16, "alpha": 32}, "seed": 1, "stop": []},
        metrics={"loss": 2.0, "n": 5},
        packages={"python": "3.11", "torch": "2.12"},
    )
    b = make(
        "base",
        "model",
        inputs=[corpus.as_input("data"), other.as_input("data")],
        config={"lora": {"rank": 8, "alpha": 32}, "seed": 1, "stop": [], "new": None},
        metrics={"loss": 1.5, "n": 5},
        packages={"python": "3.11", "torch": "2.13"},
    )
    found = diff(a, b)
    assert found.config == (Change("lora.rank", 16, 8), Change("new", None, None))
    assert found.inputs == (
        Change("data[1]", f"corpus@1 ({corpus.digest[:12]})", f"corpus@2 ({other.digest[:12]})"),
        Change("files", f"./docs ({'f' * 12})", None),
    )
    assert found.metrics == (Change("loss", 2.0, 1.5),)
    assert found.packages == (Change("torch", "2.12", "2.13"),)
    assert found.to_json()["metrics"] == [{"key": "loss", "before": 2.0, "after": 1.5}]
    assert json.dumps(found.to_json())
    assert diff(a, a).config == ()
    assert diff(a, a).same_content
