"""Prompts name tools and arguments that exist, and leave the decision to a person."""

import re
from importlib import import_module
from typing import Any

import pytest

from common.server.completing import argument_names
from common.toolset import Toolset
from servers.run import DOMAINS

GOODS = {"low_stock_review", "plan_the_day", "delivery_exception_review"}


def toolset(domain: str) -> Toolset:
    found: Toolset = import_module(f"servers.{domain}.tools").tools
    return found


def known_words() -> set[str]:
    """Tools, arguments, and the words that arguments are chosen from."""
    words: set[str] = set()
    for domain in DOMAINS:
        offered = toolset(domain)
        words |= set(offered.tools) | argument_names(offered)
        for spec in offered.tools.values():
            words |= set(re.findall(r"'([a-z]+(?:_[a-z]+)+)'", str(spec.input_schema)))
            words |= set(re.findall(r"'([a-z]+(?:_[a-z]+)+)'", str(spec.output_schema)))
    return words


def said(prompt: Any) -> str:
    """Its text; what it has to be told is ``it``."""
    fields = prompt.arguments.model_fields
    return str(prompt.run(**{name: "it" for name, field in fields.items() if field.is_required()}))


@pytest.mark.parametrize("domain", DOMAINS)
def test_prompts_name_what_exists(domain: str) -> None:
    for name, prompt in toolset(domain).prompts.items():
        named = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", said(prompt)))
        assert named <= known_words(), f"{name}: {sorted(named - known_words())}"


def test_reviews_of_goods_end_in_asking() -> None:
    prompts = toolset("inventory").prompts | toolset("logistics").prompts
    assert set(prompts) == GOODS
    for prompt in prompts.values():
        text = said(prompt)
        assert text.rindex("ask the person") > len(text) / 2
