"""`llmkit registry`: list, show, diff, lineage, tag, verify, rm, gc."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Optional

import typer

from llmkit.cli.help import PlainCommand, PlainGroup
from llmkit.cli.invocation import PANEL, open_registry, print_json
from llmkit.reporting.blocks import Block, Line, Table

COMMAND = typer.Typer(cls=PlainGroup, no_args_is_help=True, add_completion=False, rich_markup_mode=None)

Ref = Annotated[str, typer.Argument(metavar="REF", help="name, name@3 or name@tag.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON.", rich_help_panel=PANEL)]
Debug = Annotated[bool, typer.Option("--debug", help="Show stack traces.", rich_help_panel=PANEL)]
Force = Annotated[bool, typer.Option("--force", help="Even where something depends on it.")]
MEBIBYTE = 1024 * 1024


@COMMAND.callback()
def registry() -> None:
    """Artifacts: datasets, tokenizers, models, adapters, indexes and reports."""


@COMMAND.command("list", cls=PlainCommand)
def list_(
    kind: Annotated[Optional[str], typer.Option(help="Only this kind.")] = None,  # noqa: UP045
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Everything that was made, with its tags and size."""
    from llmkit.errors import UsageError, closest
    from llmkit.registry.artifact import KINDS

    if kind is not None and kind not in KINDS:
        raise UsageError(f"no kind '{kind}'{closest(kind, KINDS)}", mend=f"kinds: {', '.join(KINDS)}")
    from llmkit.stages.pruning import store_shares

    opened = open_registry()
    damaged = opened.unreadable()
    artifacts = [artifact for artifact in opened.artifacts() if kind in (None, artifact.kind)]
    shares = store_shares(opened, artifacts)
    sizes = {artifact.ref: artifact.size + shares.get(artifact.ref, 0) for artifact in artifacts}
    if json:
        rows = [
            {**a.to_json(), "size": sizes[a.ref], "store": shares.get(a.ref, 0), "ended": a.manifest.ended.isoformat()}
            for a in artifacts
        ]
        print_json({"artifacts": rows, "damaged": [{"ref": d.ref, "problem": d.problem} for d in damaged]})
        return 0
    tagged = {name: opened.tags(name) for name in {artifact.name for artifact in artifacts}}
    cells = []
    for artifact in artifacts:
        tags = ", ".join(tag for tag, version in tagged[artifact.name].items() if version == artifact.version)
        when = artifact.manifest.ended.astimezone().strftime("%Y-%m-%d %H:%M")
        cells.append(
            (artifact.ref, artifact.kind, tags, f"{sizes[artifact.ref] / MEBIBYTE:.1f} MiB", when, artifact.digest[:12])
        )
    table = Table(("artifact", "kind", "tags", "size", "made", "digest"), cells, "", frozenset({3}))
    _print([table] if cells else [Line(f"nothing in {opened.home} yet", "dim")])
    _print([Line(f"{found.ref}: {found.problem}", "bad") for found in damaged])
    return 0


@COMMAND.command(cls=PlainCommand)
def show(ref: Ref, json: Json = False, debug: Debug = False) -> int:
    """One artifact: what it is, how it was made, its figures and files."""
    from llmkit.registry.values import flat

    artifact = open_registry().resolve(ref)
    manifest = artifact.manifest.model_dump(mode="json", by_alias=True)
    if json:
        print_json({**manifest, "path": str(artifact.path)})
        return 0
    facts = [("path", artifact.path), ("digest", artifact.digest), ("command", manifest["command"])]
    facts += [(key, manifest[key]) for key in ("schema", "alias_of", "device", "started", "ended") if manifest.get(key)]
    facts += [(f"input {used['role']}", f"{used['ref']} ({used['digest'][:12]})") for used in manifest["inputs"]]
    given = set(manifest["given"])
    options = [(key, value, "given" if key in given else "") for key, value in flat(manifest["config"])]
    files = [(name, f"{record['size']:,}", record["sha256"][:12]) for name, record in manifest["files"].items()]
    blocks: list[Block] = [
        Line(f"{artifact.ref}  {artifact.kind}", "heading"),
        Table(("", ""), facts),
        Table(("option", "value", ""), options, "Options"),
    ]
    if manifest["metrics"]:
        blocks.append(Table(("metric", "value"), list(flat(manifest["metrics"])), "Metrics", frozenset({1})))
    blocks.append(Table(("file", "bytes", "sha256"), files, "Files", frozenset({1})))
    _print([*blocks, *(Line(f"warning: {text}", "bad") for text in manifest["warnings"])])
    return 0


@COMMAND.command(cls=PlainCommand)
def diff(
    before: Annotated[str, typer.Argument(metavar="A", show_default=False)],
    after: Annotated[str, typer.Argument(metavar="B", show_default=False)],
    json: Json = False,
    debug: Debug = False,
) -> int:
    """How B differs from A in options, inputs, metrics and packages."""
    from llmkit.registry.lineage import diff as compare

    opened = open_registry()
    found = compare(opened.resolve(before), opened.resolve(after))
    if json:
        print_json(found.to_json())
        return 0
    sections = {"Options": found.config, "Inputs": found.inputs, "Metrics": found.metrics, "Packages": found.packages}
    blocks: list[Block] = [
        Table(("", found.before, found.after), [(c.key, c.before, c.after) for c in changes], title)
        for title, changes in sections.items()
        if changes
    ]
    same = "the files are the same" if found.same_content else "the files differ"
    _print([*blocks, Line(same if blocks else f"no differences; {same}", "dim")])
    return 0


@COMMAND.command(cls=PlainCommand)
def lineage(ref: Ref, json: Json = False, debug: Debug = False) -> int:
    """The tree of all that an artifact was made from."""
    from llmkit.registry.lineage import lineage as trace
    from llmkit.stages.lineage import tree

    opened = open_registry()
    node = trace(opened.layout, opened.resolve(ref))
    if json:
        print_json(node.to_json())
    else:
        _print([tree(node)])
    return 0


@COMMAND.command(cls=PlainCommand)
def tag(
    ref: Ref,
    name: Annotated[Optional[str], typer.Argument(metavar="TAG", show_default=False)] = None,  # noqa: UP045
    remove: Annotated[bool, typer.Option("--remove", help="Take the tag of REF (name@tag) away.")] = False,
    if_gates: Annotated[
        bool, typer.Option("--if-gates", help="Only if its own evaluations have gates and passed them all.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Name a version: `registry tag bot@3 prod`."""
    from llmkit.errors import UsageError
    from llmkit.registry.refs import RegistryRef, parse

    opened = open_registry()
    if remove:
        parsed = parse(ref)
        if not isinstance(parsed, RegistryRef) or parsed.tag is None or name is not None:
            raise UsageError("to remove a tag, name it: registry tag --remove NAME@TAG")
        if if_gates:
            raise UsageError("a tag is taken away whatever the gates say", mend="leave --if-gates out")
        opened.untag(parsed.name, parsed.tag)
        if json:
            print_json({"name": parsed.name, "tag": parsed.tag, "ref": None})
        else:
            _print([Line(f"{parsed.name} has no tag {parsed.tag} any more")])
        return 0
    if name is None:
        raise UsageError("which tag?", mend="llmkit registry tag REF TAG")
    artifact = opened.resolve(ref)
    reports: list[str] = []
    if if_gates:
        from llmkit.stages.promotion import check_promotion

        reports = [f"{each.report} ({each.gates} gates)" for each in check_promotion(artifact, opened)]
    opened.tag(artifact, name)
    if json:
        print_json({"name": artifact.name, "tag": name, "ref": artifact.ref, "digest": artifact.digest})
        return 0
    passed = f"; passed: {', '.join(reports)}" if reports else ""
    _print([Line(f"{artifact.name}@{name} is {artifact.ref}{passed}", "good")])
    return 0


@COMMAND.command(cls=PlainCommand)
def verify(
    refs: Annotated[Optional[list[str]], typer.Argument(metavar="[REF]...", show_default=False)] = None,  # noqa: UP045
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Hash every file again, of all artifacts or of those named; exit 4 where one is damaged."""
    from llmkit.errors import DataError
    from llmkit.stages.upkeep import verify_all

    opened = open_registry()
    problems = verify_all(opened, refs or ())
    count = len(refs) if refs else len(opened.artifacts())
    if json:
        print_json({"checked": count, "problems": [vars(problem) for problem in problems]})
        return DataError.exit_code if problems else 0
    if problems:
        raise DataError(
            f"{len(problems)} of the registry's files are not as they were published:\n"
            + "\n".join(f"  {problem.ref}: {problem.what}: {problem.path}" for problem in problems),
            mend="restore them from a copy, or remove the artifact with `llmkit registry rm` and make it again",
        )
    _print([Line(f"{count} artifacts, every file as it was published", "good")])
    return 0


@COMMAND.command(cls=PlainCommand)
def rm(ref: Ref, force: Force = False, debug: Debug = False) -> int:
    """Remove one version; refused while something was made from it."""
    from llmkit.registry.refs import RegistryRef, parse
    from llmkit.registry.upkeep import remove
    from llmkit.stages.pruning import prune_store

    opened = open_registry()
    parsed = parse(ref)
    if isinstance(parsed, RegistryRef) and parsed.version in opened.versions(parsed.name):
        name, version = parsed.name, parsed.version  # also one that is too damaged to be read
    else:
        artifact = opened.resolve(ref)
        name, version = artifact.name, artifact.version
    freed = remove(opened.layout, name, version, force=force)
    pruned = prune_store(opened, name)
    freed += pruned.leftover.size if pruned.leftover else 0
    _print([Line(f"{name}@{version} is removed; {freed / MEBIBYTE:.1f} MiB freed")])
    _print([Line(pruned.later, "dim")] if pruned.later else [])
    return 0


@COMMAND.command(cls=PlainCommand)
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    days: Annotated[float, typer.Option(help="After how many days interrupted work is given up.", min=0)] = 14,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Clear leftovers of dead processes, and caches and index rows of artifacts that are gone."""
    from llmkit.registry.cleanup import gc as collect
    from llmkit.stages.pruning import prune_stores

    opened = open_registry()
    freed = list(collect(opened.layout, days=days, dry_run=dry_run))
    pruned = prune_stores(opened, dry_run=dry_run)
    freed += [store.leftover for store in pruned if store.leftover]
    size = sum(item.size for item in freed)
    if json:
        items = [{"path": str(item.path), "why": item.why, "size": item.size} for item in freed]
        print_json({"removed": items, "bytes": size, "dry_run": dry_run})
        return 0
    _print([Line(f"{item.path}: {item.why}", "dim") for item in freed])
    _print([Line(store.later, "dim") for store in pruned if store.later])
    verb = "would be freed" if dry_run else "freed"
    _print([Line(f"{size / MEBIBYTE:.1f} MiB {verb}")])
    return 0


def _print(blocks: Sequence[Block]) -> None:
    from llmkit.cli.console import stdout_console
    from llmkit.cli.render import print_blocks

    print_blocks(stdout_console(), blocks)
