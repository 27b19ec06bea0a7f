"""Rows of preferences: a prompt and two answers to it, or two whole conversations that begin alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile

from llmkit.data.chat import Message, Role
from llmkit.data.examples.chat_rows import check_filled, check_order, messages_of, with_system
from llmkit.data.examples.fields import BadRowError, Fields, Place, first_of, meta_of, text_of
from llmkit.data.schemas import PreferenceExample

_PROMPT_FIELDS = ("prompt", "question", "instruction", "input")
_TRANSCRIPT_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):[ \t]?")
"""How the data of Bai et al. 2022 (Anthropic's hh-rlhf) mark whose turn it is."""

_SPEAKERS: Mapping[str, Role] = {"Human": "user", "Assistant": "assistant"}

Conversation = tuple[Message, ...]


def preference_form(fields: Fields) -> str | None:
    """`pair` (a prompt, chosen, rejected), `transcript` (chosen and rejected are whole conversations) or `responses`.

    `responses` are those that say which is better: `response_j` over `response_k` (stack-exchange-paired), or
    `response_0` and `response_1` with `better_response_id` (PKU-SafeRLHF).
    """
    prompted = first_of(fields, _PROMPT_FIELDS) is not None
    if "chosen" in fields and "rejected" in fields:
        return "pair" if prompted else "transcript"
    if prompted and "response_j" in fields and "response_k" in fields:
        return "responses"
    if prompted and all(name in fields for name in ("response_0", "response_1", "better_response_id")):
        return "responses"
    return None


def preference_examples(fields: Fields, form: str, place: Place) -> Iterator[PreferenceExample]:
    chosen, rejected = _answers(fields, form)
    name = first_of(fields, _PROMPT_FIELDS) if form != "transcript" else None
    given = _prompt(fields, name) if name else ()
    if form == "transcript" or _whole_conversations(chosen, rejected):
        prompt, better, worse = _apart(_transcript(chosen, "'chosen'"), _transcript(rejected, "'rejected'"))
        if given and _last_of_user(given) != _last_of_user(prompt):
            raise BadRowError("different_prompts", f"'{name}' is not what 'chosen' and 'rejected' begin with")
    else:
        # After "Assistant:" comes a space that is no part of the answer.
        trim = name is not None and isinstance(fields[name], str) and _is_transcript(str(fields[name]))
        prompt, better, worse = given, _answer(chosen, "'chosen'", trim), _answer(rejected, "'rejected'", trim)
    if prompt:
        prompt = with_system(fields, prompt)
    _check(prompt, better, worse)
    split, meta = place.split_of(fields), meta_of(fields)
    yield PreferenceExample(place.source, place.record, prompt, better, worse, split, meta)


def _answers(fields: Fields, form: str) -> tuple[object, object]:
    if form != "responses":
        return fields["chosen"], fields["rejected"]
    if "response_j" in fields:
        return fields["response_j"], fields["response_k"]
    better = fields["better_response_id"]
    if isinstance(better, bool) or better not in (0, 1, "0", "1"):
        raise BadRowError("no_preference", "'better_response_id' is neither 0 nor 1")
    first, second = fields["response_0"], fields["response_1"]
    return (second, first) if better in (1, "1") else (first, second)


def _prompt(fields: Fields, name: str) -> Conversation:
    value = fields[name]
    if isinstance(value, list):
        messages = list(messages_of(value, name))
    elif isinstance(value, str) and _is_transcript(value):
        messages = _spoken(text_of(value, f"'{name}'"))
        # Such a prompt ends with "Assistant:", for the answer to follow.
        if messages[-1].role == "assistant" and not messages[-1].content:
            messages.pop()
    else:
        messages = [Message("user", text_of(value, f"'{name}'"))]
    return tuple(messages)


def _answer(value: object, where: str, trim: bool) -> Conversation:
    if isinstance(value, list):
        return tuple(messages_of(value, where.strip("'")))
    if isinstance(value, dict):
        return tuple(messages_of([value], where.strip("'")))
    text = text_of(value, where)
    return (Message("assistant", text.strip() if trim else text),)


def _whole_conversations(chosen: object, rejected: object) -> bool:
    return _begins_with_prompt(chosen) and _begins_with_prompt(rejected)


def _begins_with_prompt(value: object) -> bool:
    if isinstance(value, str):
        return _is_transcript(value)
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and first.get("role", first.get("from")) in ("user", "human", "system")


def _is_transcript(text: str) -> bool:
    start = _TRANSCRIPT_TURN.match(text)
    return start is not None and start[1] == "Human"


def _transcript(value: object, where: str) -> list[Message]:
    if isinstance(value, list):
        return list(messages_of(value, where.strip("'")))
    text = text_of(value, where)
    if not _is_transcript(text):
        raise BadRowError("no_prompt", f"there is no prompt, and {where} does not begin with 'Human:'")
    return _spoken(text)


def _spoken(text: str) -> list[Message]:
    turns = list(_TRANSCRIPT_TURN.finditer(text))
    ends = [*(turn.start() for turn in turns[1:]), len(text)]
    return [Message(_SPEAKERS[turn[1]], text[turn.end() : end].strip()) for turn, end in zip(turns, ends, strict=True)]


def _apart(chosen: Sequence[Message], rejected: Sequence[Message]) -> tuple[Conversation, Conversation, Conversation]:
    """The common beginning of two conversations, up to a turn of the user, and how each goes on."""
    pairs = zip(chosen, rejected, strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    if common == len(chosen) == len(rejected):
        raise BadRowError("same_answers", "'chosen' and 'rejected' are the same")
    begin = min(common, len(chosen) - 1, len(rejected) - 1)
    while begin > 0 and chosen[begin - 1].role != "user":
        begin -= 1
    if begin <= 0:
        raise BadRowError("different_prompts", "'chosen' and 'rejected' do not begin with the same prompt")
    return tuple(chosen[:begin]), tuple(chosen[begin:]), tuple(rejected[begin:])


def _last_of_user(messages: Sequence[Message]) -> str:
    return next((message.content.strip() for message in reversed(messages) if message.role == "user"), "")


def _check(prompt: Conversation, chosen: Conversation, rejected: Conversation) -> None:
    if not prompt:
        raise BadRowError("no_prompt", "it has no prompt")
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        if not answer:
            raise BadRowError("no_messages", f"'{name}' has no messages")
    check_filled(prompt)
    if prompt[-1].role != "user":
        raise BadRowError("roles_out_of_order", "the prompt does not end with a turn of the user")
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        try:
            check_filled(answer, first=len(prompt) + 1)
            check_order((*prompt, *answer))
        except BadRowError as error:
            raise BadRowError(error.reason, f"'{name}': {error.detail}") from None
        if answer[-1].role != "assistant":
            raise BadRowError("no_completion", f"'{name}' does not end with a turn of the assistant")
    if chosen == rejected:
        raise BadRowError("same_answers", "'chosen' and 'rejected' are the same")
