"""JSON Schema of recipes and project files, so that editors complete and check them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from llmkit.config.base import Config


def recipe_schema(configs: Mapping[str, type[Config]]) -> dict[str, Any]:
    """Schema (draft 2020-12) of a recipe file over the given commands."""
    references, definitions = models_json_schema(
        [(c, "validation") for c in configs.values()], ref_template="#/$defs/{model}"
    )
    commands = {name: references[(config, "validation")] for name, config in configs.items()}
    one_command = [{"required": [name]} for name in commands]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "llmkit recipe",
        "type": "object",
        "anyOf": [
            {
                "required": ["stages"],
                "additionalProperties": False,
                "properties": {
                    "stages": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "properties": {"id": {"type": "string"}, **commands},
                            "additionalProperties": False,
                            "oneOf": one_command,
                        },
                    }
                },
            },
            {"properties": commands, "additionalProperties": False, "minProperties": 1},
        ],
        **definitions,
    }
