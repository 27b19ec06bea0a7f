"""Recording what was asked: never in an artifact, and never at the price of an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from llmkit.errors import LlmkitError
from llmkit.stages.base import Inputs

if TYPE_CHECKING:
    from llmkit.answering.answer import Answer
    from llmkit.config.sections import RecordOptions
    from llmkit.registry.store import Registry
    from llmkit.reporting.reporter import Reporter
    from llmkit.traces.log import Passage, Trace, TraceLog

KEPT_KEYS = ("evidence", "unsupported", "invented", "notes", "interrupted", "timings", "tokens", "prompt")
"""Of an answer's payload, what is kept besides what has a column of its own."""


def trace_log(registry: Registry) -> TraceLog:
    """The record of questions that stands beside the registry's artifacts."""
    from llmkit.traces.log import TraceLog
    from llmkit.traces.schema import FILE

    return TraceLog(registry.home / FILE)


class Recorder:
    """Records the answers of one command. A record that fails is a warning, said once."""

    def __init__(
        self, command: str, options: RecordOptions, found: Inputs, registry: Registry, reporter: Reporter
    ) -> None:
        self._command, self._options, self._reporter = command, options, reporter
        self._registry, self._found = registry, found
        self._scrub = _scrubber() if options.log and options.scrub else None

    def record(
        self, payload: Mapping[str, Any], answer: Answer | None, seconds: float, *, session: str | None = None
    ) -> str | None:
        """Keep a question with its answer; returns the id of what was recorded, or None where nothing was.

        Args:
            payload: of the answer, with its `question`.
            answer: None for a model's own words.
        """
        if not self._options.log:
            return None
        from llmkit.traces.log import Retention

        retention = Retention(self._options.keep_days, self._options.keep_questions)
        try:
            if not self._registry.home.is_dir():
                self._registry.layout.prepare()
            return trace_log(self._registry).record(self._trace(payload, answer, seconds, session), retention)
        except (LlmkitError, OSError) as error:
            self._reporter.warn(f"the question was not recorded: {error}; --no-log does not try to")
            return None

    def _trace(self, payload: Mapping[str, Any], answer: Answer | None, seconds: float, session: str | None) -> Trace:
        from llmkit.traces.log import Trace, Used

        details = {key: payload[key] for key in KEPT_KEYS if payload.get(key)}
        return Trace(
            self._command,
            self._clean(str(payload["question"])),
            self._clean(str(payload["answer"])),
            bool(payload["abstained"]),
            seconds,
            tuple(Used(used.role, used.ref, used.digest) for used in self._found.refs() if used.role != "batch"),
            _passages(answer) if answer is not None else (),
            _each_text(details, self._clean),
            self._scrub is not None,
            session,
        )

    def _clean(self, text: str) -> str:
        return self._scrub(text) if self._scrub else text


def _passages(answer: Answer) -> tuple[Passage, ...]:
    """What was found, with the digests of the documents as they were indexed."""
    from llmkit.traces.log import Passage

    if answer.considered is None:
        return ()
    found = []
    for each in answer.considered.considered:
        chunk = each.hit.chunk
        if each.fate in ("used", "joined", "copy"):
            start, end = chunk.span
            cited = any(
                (quote.source, quote.record) == (chunk.source, chunk.record) and quote.start < end and start < quote.end
                for quote in answer.citations
            )
            place = (chunk.source, chunk.record, chunk.digest, start, end, round(each.score, 6), cited)
            found.append(Passage(*place))
    return tuple(found)


def _scrubber() -> Callable[[str], str]:
    """Replaces personal data and keys by placeholders, as `preprocess --pii replace` does."""
    from llmkit.config.sections import PrivacyOptions
    from llmkit.data.steps.privacy.step import analyzer_for, replaced

    analyzer = analyzer_for(PrivacyOptions())

    def clean(text: str) -> str:
        return replaced(text, analyzer(text, code=False))

    return clean


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """JSON values with every text in them changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _each_text(each, change) for key, each in value.items()}
    return [_each_text(each, change) for each in value] if isinstance(value, list | tuple) else value
