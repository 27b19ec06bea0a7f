"""Questions of a conversation in words that need no conversation: whole conversations, by rules and by a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.answering.rewriting import Turn, accepted, rewriting_messages, rewritten

SAME = "="
CONVERSATIONS = [
    [
        ("When was the Eiffel Tower built?", SAME),
        ("How tall is it?", "How tall is the Eiffel Tower?"),
        ("And who designed it?", "Who designed the Eiffel Tower?"),
        ("Where is it?", "Where is the Eiffel Tower?"),
    ],
    [
        ("Who won the election in 2008?", SAME),
        ("And in 2012?", "Who won the election in 2012?"),
        ("what about 2016?", "Who won the election in 2016?"),
    ],
    [
        ("What is the capital of France?", SAME),
        ("What about Japan?", "What is the capital of Japan?"),
        ("And its population?", "The capital of Japan's population?"),
    ],
    [
        ("How do I reset a password?", SAME),
        ("How long does it take?", "How long does it take (a password)?"),
        ("Where is it stored?", "Where is a password stored?"),
        ("Is it possible to recover it?", "Is it possible to recover a password?"),
        ("How do I list the files of a folder?", SAME),
        ("Is it possible to sort the files by name?", SAME),
    ],
    [
        ("What does hashlib do?", SAME),
        ("Is it fast?", "Is hashlib fast?"),
        ("Which algorithms does that support?", "Which algorithms does hashlib support?"),
        ("Does Python's GIL affect its speed?", SAME),
    ],
    [
        ("Who wrote Hamlet?", SAME),
        ("When was he born?", "When was William Shakespeare born?"),
        ("What are his comedies?", "What are William Shakespeare's comedies?"),
    ],
    [
        ("How much is a ticket for adults?", SAME),
        ("And for children?", "How much is a ticket for children?"),
        ("on Sundays?", "How much is a ticket for children on Sundays?"),
        ("why?", "Why is a ticket for children on Sundays?"),
    ],
    [
        ("東大寺の大仏の高さは何メートルですか？", SAME),
        ("その重さは？", "東大寺の大仏の重さは？"),
        ("それはいつ焼けましたか？", "東大寺の大仏はいつ焼けましたか？"),
        ("なぜ？", "東大寺の大仏はいつ焼けましたか。なぜ？"),
        ("いつ再建されましたか？", "東大寺の大仏はいつ再建されましたか？"),
    ],
    [
        ("東大寺はいつ建てられましたか？", SAME),
        ("薬師寺は？", "薬師寺はいつ建てられましたか？"),
        ("誰が建てましたか？", "薬師寺は誰が建てましたか？"),
        ("高さは？", "薬師寺の高さは？"),
    ],
    [
        ("2008年の選挙で誰が勝ちましたか？", SAME),
        ("2012年は？", "2012年の選挙で誰が勝ちましたか？"),
        ("では、2016年は？", "2016年の選挙で誰が勝ちましたか？"),
    ],
    [
        ("okapiは何を食べますか？", SAME),
        ("それはどこに住んでいますか？", "okapiはどこに住んでいますか？"),
        ("ライオンは何を食べますか？", SAME),
    ],
]
ANSWERS = {"Who wrote Hamlet?": "Hamlet is a tragedy written by William Shakespeare [1]."}


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=[talk[0][0] for talk in CONVERSATIONS])
def test_every_question_of_a_conversation_stands_by_itself(conversation: list[tuple[str, str]]) -> None:
    turns: list[Turn] = []
    for asked, expected in conversation:
        found = rewritten(asked, turns)
        assert (found.text, found.by) == ((asked, "nobody") if expected == SAME else (expected, "rules"))
        turns.append(Turn(found.text, ANSWERS.get(asked, "")))


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=30))
def test_nothing_that_people_may_type_breaks_it(question: str, before: str, answer: str) -> None:
    found = rewritten(question, [Turn(before, answer)])
    assert (found.text == question) == (found.by == "nobody")
    assert found.text.strip() or not question.strip()


def test_without_a_conversation_nothing_is_changed() -> None:
    assert rewritten("How tall is it?", []) == ("How tall is it?", "nobody")


TURNS = [Turn("When was the Eiffel Tower built?", "It was built in 1889 [1].")]


@pytest.mark.parametrize(
    ("reply", "text", "by"),
    [
        ("How tall is the Eiffel Tower?", "How tall is the Eiffel Tower?", "model"),
        ('Question: "How tall is the Eiffel Tower?"\n', "How tall is the Eiffel Tower?", "model"),
        ("How tall is it?", "How tall is it?", "nobody"),
        # What follows is no rewriting, and the rules take over.
        ("", "How tall is the Eiffel Tower?", "rules"),
        ("The Eiffel Tower is 330 metres tall.", "How tall is the Eiffel Tower?", "rules"),
        ("How tall is the Great Pyramid of Giza in Egypt?", "How tall is the Eiffel Tower?", "rules"),
        ("How tall is it?\nIt is tall.", "How tall is the Eiffel Tower?", "rules"),
        ("tall " * 100 + "?", "How tall is the Eiffel Tower?", "rules"),
        ("エッフェル塔の高さは？", "How tall is the Eiffel Tower?", "rules"),
    ],
)
def test_a_model_is_believed_if_its_words_come_from_the_conversation(reply: str, text: str, by: str) -> None:
    seen = []

    def ask(messages: list) -> str:
        seen.append(messages)
        return reply

    assert rewritten("How tall is it?", TURNS, ask) == (text, by)
    (messages,) = seen
    assert "Do not answer it" in messages[0]["content"]
    assert "1889" in messages[1]["content"] and messages[1]["content"].endswith("How tall is it?")


def test_a_model_is_shown_the_last_turns_only() -> None:
    many = [Turn(f"Question {n}?", "x" * 2000) for n in range(30)]
    content = rewriting_messages("And?", many)[1]["content"]
    assert "Question 29?" in content and "Question 3?" not in content and len(content) < 2000


def test_a_japanese_rewriting_is_held_against_its_bigrams() -> None:
    turns = [Turn("東大寺の大仏の高さは？", "約15メートルである。")]
    assert accepted("東大寺の大仏の重さはどれくらいですか？", "重さは？", turns)
    assert accepted("奈良公園の鹿は何頭いますか？", "重さは？", turns) is None
