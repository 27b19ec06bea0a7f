"""Rows of chats, prompts with completions, instructions and plain texts, as messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from llmkit.data.chat import ROLES, Example, Message, Role
from llmkit.data.examples.fields import BadRowError, Fields, Place, first_of, meta_of, text_of, unknown_fields
from llmkit.data.readers.records import USUAL_TEXT_FIELDS

OPENAI_ROLES: Mapping[str, Role] = {role: role for role in ROLES}
SHAREGPT_ROLES: Mapping[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_TOOL_ROLES = frozenset({"tool", "function", "function_call", "function_response", "observation"})
_PROMPT_FIELDS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("question", "response"),
    ("input", "output"),
)
_SYSTEM_FIELDS = ("system", "system_prompt")
_INSTRUCTION_FIELDS = (("input", "output"), ("context", "response"))
"""Beside `instruction`: those of alpaca, and those of dolly (databricks-dolly-15k)."""

_UNREPRESENTABLE_OF_TURN = ("tool_calls", "function_call", "tool_call_id", "name", "audio", "refusal", "images")
_UNREPRESENTABLE_OF_ROW = ("tools", "functions")


def chat_form(fields: Fields) -> str | None:
    """The form in which a row is written, told by its fields."""
    if "messages" in fields:
        return "messages"
    if "conversations" in fields:
        return "sharegpt"
    if _instruction_fields(fields):
        return "alpaca"
    if _pair_fields(fields):
        return "prompt"
    if first_of(fields, USUAL_TEXT_FIELDS):
        return "text"
    return None


def chat_examples(fields: Fields, form: str, place: Place) -> Iterator[Example]:
    for name in _UNREPRESENTABLE_OF_ROW:
        if fields.get(name):
            raise BadRowError("tool_use", f"it has '{name}', and calls of tools cannot be represented")
    messages = tuple(_MESSAGES_OF[form](fields))
    if form != "text":
        messages = with_system(fields, messages)
    check_turns(messages, plain_text=form == "text")
    yield Example(place.source, place.record, messages, place.split_of(fields), meta_of(fields))


def with_system(fields: Fields, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages after the system's, where a row has that in a field of its own and they do not begin with one."""
    name = next((name for name in _SYSTEM_FIELDS if fields.get(name)), None)
    if name is None or (messages and messages[0].role == "system"):
        return messages
    return (Message("system", text_of(fields[name], f"'{name}'")), *messages)


def messages_of(turns: object, field: str) -> Iterator[Message]:
    """The messages in a list of turns, each with `role` and `content`, or with sharegpt's `from` and `value`."""
    if not isinstance(turns, list):
        raise BadRowError("bad_turns", f"'{field}' is a {type(turns).__name__}, not a list")
    sharegpt = bool(turns) and isinstance(turns[0], dict) and "from" in turns[0] and "role" not in turns[0]
    role_key, text_key = ("from", "value") if sharegpt else ("role", "content")
    roles = SHAREGPT_ROLES if sharegpt or field == "conversations" else OPENAI_ROLES
    for number, turn in enumerate(turns, start=1):
        yield _message(turn, number, role_key, text_key, roles)


def check_turns(messages: Sequence[Message], *, plain_text: bool = False) -> None:
    """Refuse what cannot be trained on: roles out of order, empty turns, nothing said by the assistant at the end."""
    if not messages:
        raise BadRowError("no_messages", "it has no messages")
    check_filled(messages)
    if plain_text:
        return
    check_order(messages)
    if messages[-1].role != "assistant":
        raise BadRowError("no_completion", "it does not end with a turn of the assistant")


def check_filled(messages: Sequence[Message], first: int = 1) -> None:
    """Refuse empty turns; `first` is the number of the first message's turn."""
    for number, message in enumerate(messages, start=first):
        if not message.content.strip():
            raise BadRowError("empty_turn", f"turn {number} ({message.role}) is empty")


def check_order(messages: Sequence[Message]) -> None:
    """Refuse messages that are not, after at most one of the system, by turns the user's and the assistant's."""
    offset = 1 if messages and messages[0].role == "system" else 0
    for index, message in enumerate(messages[offset:]):
        expected = "user" if index % 2 == 0 else "assistant"
        if message.role != expected:
            number = index + offset + 1
            raise BadRowError("roles_out_of_order", f"turn {number} is the {message.role}'s, not the {expected}'s")


def _message(turn: object, number: int, role_key: str, text_key: str, roles: Mapping[str, Role]) -> Message:
    if not isinstance(turn, dict) or role_key not in turn:
        raise BadRowError("bad_turns", f"turn {number} has no '{role_key}' and '{text_key}'")
    named = turn[role_key]
    if isinstance(named, str) and named in _TOOL_ROLES:
        raise BadRowError("tool_use", f"turn {number} is a {named}'s, and calls of tools cannot be represented")
    for name in _UNREPRESENTABLE_OF_TURN:
        if turn.get(name):
            raise BadRowError("unsupported_key", f"turn {number} has '{name}', which messages here cannot hold")
    if turn.get("weight", 1) not in (None, 1):
        raise BadRowError("unsupported_key", f"turn {number} has a weight, and all turns of the assistant count alike")
    if text_key not in turn:
        raise BadRowError("bad_turns", f"turn {number} has no '{role_key}' and '{text_key}'")
    role = roles.get(str(named))
    if role is None:
        raise BadRowError("unknown_role", f"turn {number} has the role '{named}'")
    return Message(role, _content(turn[text_key], f"turn {number}"))


def _content(value: object, where: str) -> str:
    """The text of a turn: a string, or OpenAI's list of parts where all of them are text."""
    if isinstance(value, list) and value and all(isinstance(part, dict) and "type" in part for part in value):
        for part in value:
            if part["type"] != "text":
                raise BadRowError("not_text", f"{where} has a part of type '{part['type']}', not text")
        return "".join(text_of(part.get("text"), where) for part in value)
    return text_of(value, where)


def _pair_fields(fields: Fields) -> tuple[str, str] | None:
    return next((pair for pair in _PROMPT_FIELDS if pair[0] in fields and pair[1] in fields), None)


def _instruction_fields(fields: Fields) -> tuple[str, str] | None:
    if "instruction" not in fields:
        return None
    return next((pair for pair in _INSTRUCTION_FIELDS if pair[1] in fields), None)


def _from_messages(fields: Fields) -> Iterator[Message]:
    yield from messages_of(fields["messages"], "messages")


def _from_sharegpt(fields: Fields) -> Iterator[Message]:
    yield from messages_of(fields["conversations"], "conversations")


def _from_alpaca(fields: Fields) -> Iterator[Message]:
    more, told = _instruction_fields(fields) or _INSTRUCTION_FIELDS[0]
    prompt = text_of(fields["instruction"], "'instruction'")
    if extra := fields.get(more):
        prompt = prompt + "\n\n" + text_of(extra, f"'{more}'")
    yield Message("user", prompt)
    yield Message("assistant", text_of(fields[told], f"'{told}'"))


def _from_pair(fields: Fields) -> Iterator[Message]:
    asked, told = _pair_fields(fields) or _PROMPT_FIELDS[0]
    prompt, completion = fields[asked], fields[told]
    if isinstance(prompt, list):
        turns = completion if isinstance(completion, list) else [{"role": "assistant", "content": completion}]
        yield from messages_of(prompt + turns, asked)
        return
    yield Message("user", text_of(prompt, f"'{asked}'"))
    yield Message("assistant", text_of(completion, f"'{told}'"))


def _from_text(fields: Fields) -> Iterator[Message]:
    name = first_of(fields, USUAL_TEXT_FIELDS)
    if name is None:
        raise unknown_fields(fields)
    yield Message("assistant", text_of(fields[name], f"'{name}'"))


_MESSAGES_OF: Mapping[str, Callable[[Fields], Iterable[Message]]] = {
    "messages": _from_messages,
    "sharegpt": _from_sharegpt,
    "alpaca": _from_alpaca,
    "prompt": _from_pair,
    "text": _from_text,
}
