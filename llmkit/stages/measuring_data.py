"""The data of a suite's tasks: found before anything is measured, read when its task is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import DataError, NotFoundError
from llmkit.registry.refs import PathRef, parse_input
from llmkit.stages.base import Inputs, Raw

if TYPE_CHECKING:
    from llmkit.evaluation.tasks import Suite
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry
    from llmkit.stages.measuring import Bench


def whole_of(item: Any) -> str:
    """What an example or a text is a part of: those of one document are not independent, rows of a table are.

    A row's record is its number; of what was cut out of a document it is a name in it.
    """
    return f"{item.source}#{item.record}" if item.record.isdecimal() else str(item.source)


def find_data(suite: Suite, registry: Registry) -> Inputs:
    """The data of every task that names some: a dataset, or a file or folder.

    Raises:
        NotFoundError: it is not there.
    """
    artifacts: dict[str, Artifact] = {}
    raw: dict[str, Raw] = {}
    for task in suite.root:
        name = getattr(task, "data", None)
        if name is None:
            continue
        ref = parse_input(name)
        if isinstance(ref, PathRef):
            raw[role_of(task)] = _file(task, name, ref, registry)
        else:
            artifacts[role_of(task)] = registry.resolve(name, "dataset")
        if examples := getattr(task, "fewshot_data", None):
            raw[_fewshot_role(task)] = _file(task, examples, parse_input(examples), registry)
    return Inputs(artifacts, raw)


def _file(task: Any, name: str, ref: Any, registry: Registry) -> Raw:
    if not isinstance(ref, PathRef) or not ref.path.exists():
        raise NotFoundError(f"no such file: {name}", where=f"task {task.id}", mend="check the path")
    return Raw(name, registry.input_digest([ref.path]).digest, ref.path)


def _fewshot_role(task: Any) -> str:
    return f"examples {task.id}"


def role_of(task: Any) -> str:
    """The name of a task's data among a command's inputs."""
    return f"data {task.id}"


def examples_of(task: Any, bench: Bench) -> Sequence[Any]:
    """The chat examples of a task's split or file.

    Raises:
        DataError: there is none.
    """
    from llmkit.data.dataset import Dataset
    from llmkit.data.examples import read_examples

    if role_of(task) in bench.found.artifacts:
        dataset = Dataset.open(bench.found.artifacts[role_of(task)].path)
        examples = list(dataset.examples(task.split))
        if not examples:
            raise _empty(task)
        return examples
    return read_examples([bench.found.raw[role_of(task)].value]).examples


def documents_of(task: Any, bench: Bench) -> Iterator[Any]:
    """The documents of a task's split, file or folder.

    Raises:
        DataError: the split is empty.
    """
    from llmkit.data.dataset import Dataset
    from llmkit.data.drops import Drop
    from llmkit.data.readers.table import read_file
    from llmkit.data.sources.collect import collect

    if role_of(task) in bench.found.artifacts:
        dataset = Dataset.open(bench.found.artifacts[role_of(task)].path)
        documents = [each.document for each in dataset.documents(task.split)]
        if not documents:
            raise _empty(task)
        yield from documents
        return
    for file in collect([str(bench.found.raw[role_of(task)].value)]).files:
        yield from (item for item in read_file(file.path) if not isinstance(item, Drop))


def rows_of(task: Any, bench: Bench) -> Iterator[Any]:
    """The records of a task's file, each with its place.

    Raises:
        DataError: a line is no record, or it is a dataset and no file.
    """
    yield from _rows_in(bench.found.raw[role_of(task)].value if role_of(task) in bench.found.raw else _not_a_file(task))


def fewshot_rows_of(task: Any, bench: Bench) -> Iterator[Any]:
    """The records of the file that a task's worked examples are drawn from, where it names one."""
    if _fewshot_role(task) in bench.found.raw:
        yield from _rows_in(bench.found.raw[_fewshot_role(task)].value)


def _rows_in(path: Path) -> Iterator[Any]:
    from llmkit.data.rows import BadRow, format_of, read_rows
    from llmkit.evaluation.questions import Row

    for row in read_rows(path, format_of(path)):
        where = f"{path}:{row.number}"
        if isinstance(row, BadRow):
            raise DataError(row.detail, where=where, mend="correct the record or remove it")
        yield Row(where, row.fields)


def indexed_documents(searcher: Any) -> Iterator[Any]:
    """The documents of an index, read again from their files."""
    from llmkit.data.drops import Drop
    from llmkit.data.readers.table import read_source
    from llmkit.stages.answers import container

    for source, _ in searcher.view.sources(searcher.view.counts[0]):
        if container(source).exists():
            yield from (item for item in read_source(source) if not isinstance(item, Drop))


def located(items: Sequence[Any], searcher: Any, task: Any) -> list[Any]:
    """The items with their sources as the index names them: a path in a question file may be relative to here.

    Raises:
        DataError: a source is not in the index, so its question could only ever be missed.
    """
    from dataclasses import replace

    known = {source for source, _ in searcher.view.sources(searcher.view.counts[0])}

    def locate(source: str, item: Any) -> str:
        for name in (source, str(Path(source).absolute()), str(Path(source).resolve())):
            if name in known:
                return name
        raise DataError(
            f"the question '{item.id}' names {source}, which is not in the index",
            where=f"task {task.id}",
            mend="give the path as `ask --json` shows it, or index that file",
        )

    return [
        replace(item, relevant=tuple(place._replace(source=locate(place.source, item)) for place in item.relevant))
        for item in items
    ]


def _not_a_file(task: Any) -> Path:
    raise DataError(
        "questions come from a file, not from a dataset", where=f"task {task.id}", mend="give a JSONL, JSON or CSV file"
    )


def _empty(task: Any) -> DataError:
    return DataError(
        f"the {task.split} split of {task.data} is empty",
        where=f"task {task.id}",
        mend="choose another `split`, or more data",
    )
