"""Count what tests cost: processor seconds of each, with the kernels, servers and workers that it starts.

At the end of a run the dearest tests, the dearest files and the sum are printed, also under xdist.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from course.usage import tree_processor_seconds

SHOWN = 25
# Editions hold the code and the outputs of the notebooks that are run.
collect_ignore_glob = ["notebooks/*/*"]
_spent: Counter[str] = Counter()
_workers: list[float] = []
_last = tree_processor_seconds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global _last
    try:
        return (yield)
    finally:
        now = tree_processor_seconds()
        _spent[item.nodeid] += now - _last
        _last = now


def pytest_sessionfinish(session: pytest.Session) -> None:
    # A worker of xdist hands over what it counted, imports and collection included.
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["spent"] = dict(_spent)
        session.config.workeroutput["all"] = tree_processor_seconds()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # A worker that died hands over nothing.
    _spent.update(getattr(node, "workeroutput", {}).get("spent", {}))
    _workers.append(getattr(node, "workeroutput", {}).get("all", 0.0))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not _spent:
        return
    files = Counter[str]()
    for name, seconds in _spent.items():
        files[name.split("::")[0]] += seconds
    total = sum(_workers) or tree_processor_seconds()
    terminalreporter.section(f"{total:.0f} processor seconds in all, the dearest files and tests")
    for counted in (files, _spent):
        for name, seconds in counted.most_common(SHOWN):
            terminalreporter.write_line(f"{seconds:8.1f}  {name}")
        terminalreporter.write_line("")
