"""A contract for import-linter: modules that may import the standard library and themselves only."""

import sys
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class StandardLibraryOnly(Contract):
    """The named packages import the standard library and themselves only, tests apart.

    `forbidden` lists parts of the standard library that are not allowed either.
    """

    modules = fields.ListField(subfield=fields.StringField())
    forbidden = fields.ListField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Look at every direct import of the packages."""
        allowed = set(sys.stdlib_module_names) - set(cast("list[str] | None", self.forbidden) or [])
        breaches: list[str] = []
        for package in cast("list[str]", self.modules):
            importers = {package} | graph.find_descendants(package)
            for importer in sorted(importers):
                if ".tests" in importer:
                    continue
                for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                    if imported in importers or imported.partition(".")[0] in allowed:
                        continue
                    details = graph.get_import_details(importer=importer, imported=imported)
                    lines = ",".join(str(detail["line_number"]) for detail in details)
                    breaches.append(f"{importer}:{lines} imports {imported}")
        return ContractCheck(kept=not breaches, metadata={"breaches": breaches})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line per import that is not allowed."""
        for breach in check.metadata["breaches"]:
            output.print_error(breach)
