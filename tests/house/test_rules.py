"""The rules of the protocol, and the modules that keep them: one module a rule, named on both."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from tests.house.reading import ROOT, Module, house

_RULE = re.compile(r"^(\d+)\. \*\*", re.MULTILINE)
_KEPT = re.compile(r"\(rules? ([\d, ]+)\)")


def listed(page: str) -> set[int]:
    """The numbers of the rules that the page of the architecture lists."""
    chapter = page.split("\n## 4.", 1)[1].split("\n## 5.", 1)[0]
    return {int(number) for number in _RULE.findall(chapter)}


def keepers(modules: Mapping[str, Module]) -> dict[int, list[str]]:
    """The modules whose first line says that they keep a rule, by rule."""
    found: dict[int, list[str]] = defaultdict(list)
    for name, module in modules.items():
        first = module.text.partition("\n")[0]
        for numbers in _KEPT.findall(first):
            for number in numbers.split(","):
                found[int(number)].append(name)
    return found


def test_each_rule_of_the_protocol_has_one_module_that_names_it_first() -> None:
    rules = listed((ROOT / "docs/architecture.md").read_text())
    kept = keepers(house())
    assert rules == set(range(1, len(rules) + 1)), "the rules are numbered from 1 on"
    assert {number: names for number, names in kept.items() if len(names) > 1} == {}
    assert set(kept) == rules


def test_a_rule_that_nobody_or_that_two_keep_is_found() -> None:
    texts = {"a": '"""Journal (rules 4, 5): x."""', "b": '"""Timers (rule 4): y."""'}
    planted = {name: Module(name, f"{name}.py", text) for name, text in texts.items()}
    assert keepers(planted) == {4: ["a", "b"], 5: ["a"]}
    assert listed("\n## 4. Rules\n1. **One**\n2. **Two**\n\n## 5. Next\n3. **No**") == {1, 2}
