"""Rows of task definitions and their versions: stored when they are first used or deployed."""

from __future__ import annotations

from typing import Any

from services.scheduler.live import LiveAction, LiveRun
from services.scheduler.recording import ROW_BYTES, Draft
from services.scheduler.specs import Spec

_REMEMBERED = 100_000


class DefinitionRows:
    """Writes definitions into the next transaction. What is known to be stored costs nothing."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._known_specs: set[str] = set()
        self._known_versions: set[tuple[str, str, str, str]] = set()

    def used(self, run: LiveRun, action: LiveAction, spec: Spec, at: int, *, is_task: bool) -> None:
        """Stores a definition that was not stored yet, as far as is known here."""
        rows = self._draft.rows
        message = spec.message
        if run.root_id == action.id:
            rows.runs[run.id].update(
                spec_digest=spec.digest, task_name=message.name, task_version=message.code.version
            )
        self._store(spec, at)
        identifier = run.identifier
        version = (identifier.project, identifier.domain, message.name, message.code.version)
        if is_task and version not in self._known_versions:
            remember(self._known_versions, version)
            project, domain, name, number = version
            rows.versions.append(
                {
                    "project": project,
                    "domain": domain,
                    "name": name,
                    "version": number,
                    "id": action.id,
                    "spec_digest": spec.digest,
                    "created_at": at,
                }
            )

    def _store(self, spec: Spec, at: int) -> None:
        if spec.digest in self._known_specs:
            return
        remember(self._known_specs, spec.digest)
        rows, message = self._draft.rows, spec.message
        rows.weight += len(spec.serialised)
        rows.specs.append(
            {
                "digest": spec.digest,
                "spec": spec.serialised,
                "name": message.name,
                "short_name": message.short_name or message.name.rpartition(".")[2],
                "environment": message.environment,
                "version": message.code.version,
                "module": message.code.module,
                "created_at": at,
            }
        )

    def deployed(self, project: str, domain: str, spec: Spec, at: int) -> None:
        """Makes a version of a task the one that was deployed last, behind all that were before."""
        self._store(spec, at)
        self._draft.cursor += 1
        self._draft.rows.deployments.append(
            {
                "project": project,
                "domain": domain,
                "name": spec.message.name,
                "version": spec.message.code.version,
                "id": self._draft.cursor,
                "spec_digest": spec.digest,
                "entrypoint": spec.message.entrypoint,
                "created_at": at,
                "deployed_at": at,
            }
        )
        self._draft.rows.weight += ROW_BYTES


def remember(known: set[Any], value: Any) -> None:
    """Adds to a set that may forget: what is not known is stored again, which changes nothing."""
    if len(known) >= _REMEMBERED:
        known.clear()
    known.add(value)
