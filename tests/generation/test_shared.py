import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmkit.errors import DataError
from llmkit.generation.scoring import likelihoods
from llmkit.generation.shared import encode_item, item_likelihoods

ids = st.integers(min_value=5, max_value=390)
ITEMS = st.lists(
    st.tuples(
        st.lists(ids, min_size=1, max_size=40),
        st.lists(st.lists(ids, min_size=1, max_size=6), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=6,
)
QUIET = settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUIET
@given(items=ITEMS)
def test_a_shared_context_gives_what_each_pair_gives_on_its_own(causal, items):
    pairs = [(context, said) for context, says in items for said in says]
    alone = [dict(likelihoods(causal, [pair]))[0] for pair in pairs]
    for batch_tokens in (1, 64, 4096):
        found = dict(item_likelihoods(causal, items, batch_tokens=batch_tokens))
        together = [each for index in range(len(items)) for each in found[index]]
        assert [each.value for each in together] == pytest.approx([each.value for each in alone], rel=1e-5)
        assert [each.greedy for each in together] == [each.greedy for each in alone]


def test_the_context_is_really_read_once(gpt2, monkeypatch):
    seen = []
    forward = gpt2.model.forward

    def counted(*args, **kwargs):
        seen.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(gpt2.model, "forward", counted)
    monkeypatch.setattr(type(gpt2), "takes", lambda self, name: name in ("position_ids", "logits_to_keep"))
    list(item_likelihoods(gpt2, [(list(range(5, 45)), [[7, 8], [9], [10, 11]])]))
    assert seen == [39, 6]


def test_greedy_says_whether_the_model_would_write_it(gpt2):
    written = gpt2.generate(
        "def wrap(text):",
    ).text
    context, says = encode_item(gpt2, "def wrap(text):", [written])
    best, other = [says[0][0]], [says[0][0] ^ 1]
    ((_, found),) = item_likelihoods(gpt2, [(context, [best, other])])
    assert [each.greedy for each in found] == [True, False]
    assert found[0].value > found[1].value


def test_spaces_at_the_end_of_a_context_go_to_the_continuation(gpt2):
    assert encode_item(gpt2, "one two ", ["three"]) == encode_item(gpt2, "one two", [" three"])


def test_an_empty_context_is_the_prefix_token(gpt2):
    context, says = encode_item(gpt2, "", ["text"])
    assert context == [gpt2.prefix_id] and gpt2.tokenizer.decode(says[0]) == "text"


def test_a_continuation_without_a_token_is_refused(gpt2):
    with pytest.raises(DataError, match="'' adds no token"):
        encode_item(gpt2, "one", ["two", ""])


def test_a_seq2seq_model_reads_and_says_apart(t5):
    items = [([5, 6, 7], [[8, 9], [10]])]
    found = dict(item_likelihoods(t5, items))[0]
    alone = [dict(likelihoods(t5, [([5, 6, 7], said)]))[0].value for said in ([8, 9], [10])]
    assert [each.value for each in found] == pytest.approx(alone, rel=1e-5)
