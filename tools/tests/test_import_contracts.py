"""The contract that keeps the scheduler's core pure."""

import grimp
import pytest

from tools.import_contracts import StandardLibraryOnly

CORE = "services.scheduler.core"


def check(imported: str, *, importer: str = f"{CORE}.machine") -> list[str]:
    """Return the breaches of a core in which one module imports another."""
    graph = grimp.ImportGraph()
    for module in (CORE, f"{CORE}.machine", f"{CORE}.leases", f"{CORE}.tests", f"{CORE}.tests.test_machine"):
        graph.add_module(module)
    if imported not in graph.modules:
        graph.add_module(imported, is_squashed="." not in imported)
    graph.add_import(importer=importer, imported=imported, line_number=7, line_contents=f"import {imported}")
    contract = StandardLibraryOnly(
        "core", {"root_packages": ["services"]}, {"modules": [CORE], "forbidden": ["time", "os"]}
    )
    breaches: list[str] = contract.check(graph, verbose=False).metadata["breaches"]
    return breaches


@pytest.mark.parametrize("imported", ["dataclasses", "heapq", f"{CORE}.leases"])
def test_core_may_import_the_standard_library_and_itself(imported):
    """Data structures and other parts of the core are allowed."""
    assert check(imported) == []


@pytest.mark.parametrize("imported", ["sqlalchemy", "time", "os", "services.ledger.tables"])
def test_core_may_not_import_packages_services_or_clocks(imported):
    """Anything else is named with the line that imports it."""
    assert check(imported) == [f"{CORE}.machine:7 imports {imported}"]


def test_tests_of_the_core_may_import_anything():
    """Hypothesis is not part of the core."""
    assert check("hypothesis", importer=f"{CORE}.tests.test_machine") == []
