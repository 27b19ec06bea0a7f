"""`llmkit finetune-lora preview`: what would be learned, on the terminal, as a page or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmkit.cli.invocation import FOR_REPORTS, open_registry, print_json
from llmkit.cli.options import parameters, signature
from llmkit.errors import DataError
from llmkit.stages.preview import PreviewOptions


def preview(**given: Any) -> int:
    """Examples token by token, through the template and the batch that training uses; no weights are read."""
    import os

    from llmkit.cli.console import stdout_console
    from llmkit.cli.render import print_blocks
    from llmkit.config.resolve import environment_layer, flag_layer, resolve
    from llmkit.stages.preview import preview as look
    from llmkit.stages.preview import show

    layers = [environment_layer(PreviewOptions, "preview", os.environ), flag_layer(PreviewOptions, given)]
    cfg = resolve(PreviewOptions, layers).config
    told = look(cfg, open_registry())
    if cfg.html:
        from llmkit.registry.disk import write_whole
        from llmkit.reporting.page import page

        text = page(f"What {cfg.model} would learn of {Path(cfg.data).name}", show(told))
        write_whole(Path(cfg.html), text.encode("utf-8"))
    if given["json"]:
        print_json(told)
    else:
        print_blocks(stdout_console(), show(told))
    return DataError.exit_code if told["refused"] else 0


preview.__signature__ = signature([parameters(PreviewOptions), FOR_REPORTS])  # type: ignore[attr-defined]  # read by Typer
COMMAND = preview
