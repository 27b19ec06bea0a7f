"""`llmkit plan`: tables, or one JSON object."""

from __future__ import annotations

from typing import Any

from llmkit.cli.invocation import FOR_REPORTS, open_registry, print_json
from llmkit.cli.options import parameters, signature
from llmkit.config.planning import PlanOptions


def plan(**given: Any) -> int:
    import os

    from llmkit.cli.console import stdout_console
    from llmkit.cli.render import print_blocks
    from llmkit.config.resolve import environment_layer, flag_layer, resolve
    from llmkit.stages.plan import as_json, show
    from llmkit.stages.plan import plan as make

    layers = [environment_layer(PlanOptions, "plan", os.environ), flag_layer(PlanOptions, given)]
    planned = make(resolve(PlanOptions, layers).config, open_registry())
    if given["json"]:
        print_json(as_json(planned))
        return 0
    print_blocks(stdout_console(), show(planned))
    return 0


plan.__signature__ = signature([parameters(PlanOptions), FOR_REPORTS])  # type: ignore[attr-defined]  # read by Typer
COMMAND = plan
