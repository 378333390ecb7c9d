"""A client looks through the schema of every tool it calls, and every test has new clients."""

import json
from typing import Any

from jsonschema import Draft202012Validator


def remember_valid_ones() -> None:
    """From now on a schema that was found valid is not looked through again in this process:
    that took a tenth of the time of all tests."""
    look_through = Draft202012Validator.check_schema
    valid: set[str] = set()

    def check_schema(schema: Any, **how: Any) -> None:
        text = json.dumps(schema, sort_keys=True)
        if text not in valid:
            look_through(schema, **how)
            valid.add(text)

    Draft202012Validator.check_schema = staticmethod(check_schema)
