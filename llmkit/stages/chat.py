"""`ask --chat`: a conversation. Each question is first put into words that need no conversation, then answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from llmkit.errors import Interrupted, LlmkitError
from llmkit.reporting.blocks import Line

if TYPE_CHECKING:
    from llmkit.answering.rewriting import Turn
    from llmkit.generation.prompts import Message
    from llmkit.reporting.reporter import Reporter

COMMANDS = {"/quit": "end", "/clear": "forget what was said", "/sources": "the passages of the last answer"}
PROMPT = "> "

_CITATIONS = re.compile(r"\s*(?:\[\d+\])+|\s*\[unsupported\]")
_COMMAND = re.compile(r"/\w+")

Respond = Callable[[str, str, "Sequence[Message]"], dict[str, Any]]
"""The question as typed, as it is searched, and the turns before it, to an answer's payload."""
Rewrite = Callable[["Sequence[Message]"], str]
"""Messages to a model's reply."""


class Conversation:
    """What was said, and what comes next."""

    def __init__(self, respond: Respond, reporter: Reporter, *, rewrites: bool, ask: Rewrite | None = None) -> None:
        """
        Args:
            rewrites: whether questions are searched in an index, and must stand by themselves.
            ask: a model that fills questions in; None for the rules.
        """
        self._respond, self._reporter = respond, reporter
        self._rewrites, self._ask = rewrites, ask
        self._turns: list[Turn] = []
        self._last: Mapping[str, Any] | None = None
        self.answers: list[dict[str, Any]] = []

    def hold(self, lines: Callable[[str], str | None], first: str | None = None) -> None:
        """Goes through a conversation: until its end, `/quit`, or Ctrl-C where a question is awaited.

        Args:
            lines: a prompt to the next line; None at the end.
            first: a question to begin with.

        Raises:
            Interrupted: Ctrl-C.
        """
        try:
            line = first if first is not None else lines(PROMPT)
            while line is not None and self.take(line) == "on":
                line = lines(PROMPT)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted after {len(self.answers)} answers", mend="/quit ends a chat") from None

    def take(self, line: str) -> Literal["on", "end"]:
        """One line: a command, or a question, whose answer goes to the reporter."""
        question = line.strip()
        if question in ("/quit", "/exit"):
            return "end"
        if question == "/clear":
            self._turns, self._last = [], None
            self._reporter.info("what was said is forgotten", style="dim")
        elif question == "/sources":
            self._show_sources()
        elif _COMMAND.fullmatch(question):
            known = "; ".join(f"{name}: {does}" for name, does in COMMANDS.items())
            self._reporter.info(known if question == "/help" else f"no such command: {question}. {known}", style="dim")
        elif question:
            self._answer(question)
        return "on"

    def _answer(self, question: str) -> None:
        from llmkit.answering.rewriting import Rewritten, Turn, rewritten

        found = rewritten(question, self._turns, self._ask) if self._rewrites else Rewritten(question, "nobody")
        try:
            payload = self._respond(question, found.text, self._history())
        except LlmkitError as error:
            if not self._reporter.interactive:
                raise
            self._reporter.warn(f"{error}{f' ({error.mend})' if error.mend else ''}")
            return
        searched = None if found.by == "nobody" else found.text
        typed = {"typed": True} if self._reporter.interactive else {}
        payload = {**payload, "searched": searched, "rewritten_by": found.by, **typed}
        self._turns.append(Turn(found.text, _CITATIONS.sub("", str(payload["answer"]))))
        self._last = payload
        self.answers.append(payload)
        self._reporter.result(payload)

    def _history(self) -> list[Message]:
        return [
            message
            for turn in self._turns
            for message in (
                {"role": "user", "content": turn.question},
                {"role": "assistant", "content": turn.answer},
            )
        ]

    def _show_sources(self) -> None:
        places = self._last["retrieved"] if self._last else []
        if not places:
            self._reporter.info("no answer yet that rests on documents", style="dim")
        for number, place in enumerate(places, start=1):
            row = f"{number:>3}  {place['source']}  characters {place['start']:,}-{place['end']:,}"
            self._reporter.show(Line(f"{row}  score {place['score']:.3f}", "dim"))
