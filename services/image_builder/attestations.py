"""What is known of an image: what is in it, and how it was made. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from services.image_builder.builds import Build
from services.image_builder.makers import Made, Plan

_BUILD_TYPE = "https://hangar.dev/image-definition/v1"


def sbom(name: str, packages: Iterable[Mapping[str, str]]) -> str:
    """Returns a CycloneDX document.

    Args:
        name: Name of the image.
        packages: Its packages: `type` ("pypi" or "deb"), `name`, `version`, `arch`.
    """
    components = [
        {
            "type": "library",
            "name": package["name"],
            "version": package["version"],
            "purl": _purl(package),
        }
        for package in packages
    ]
    components.sort(key=lambda component: component["purl"])
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name}},
        "components": components,
    }
    return json.dumps(document, separators=(",", ":"))


def provenance(plan: Plan, build: Build, made: Made, platform_version: str, sdk_digest: str) -> str:
    """Returns an in-toto statement with SLSA provenance.

    Args:
        plan: What was made.
        build: The build.
        made: What came of it.
        platform_version: Version of the platform.
        sdk_digest: Digest of the platform's SDK in the image.
    """
    algorithm, _, digest = (made.image_digest or made.image_id or f"blake2b-128:{plan.image.name}").partition(
        ":"
    )
    materials: list[dict[str, Any]] = [
        {"uri": name, **({"digest": _digest(value)} if value else {})}
        for name, value in sorted(made.materials.items())
    ]
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": plan.image.reference, "digest": {algorithm: digest}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {
                    "definition": json.loads(plan.definition_json or "{}"),
                    "platform": plan.image.platform,
                },
                "internalParameters": {
                    "sdk": sdk_digest,
                    "steps": [step.text for step in build.steps],
                    **({"excludeNewer": plan.newest} if plan.newest else {}),
                },
                "resolvedDependencies": materials,
            },
            "runDetails": {
                "builder": {"id": "hangar-image-builder", "version": {"hangar": platform_version}},
                "metadata": {
                    "invocationId": f"{plan.image.name}-{build.number}",
                    "startedOn": _time(build.started_at),
                    "finishedOn": _time(build.finished_at),
                },
            },
        },
    }
    return json.dumps(document, separators=(",", ":"))


def _purl(package: Mapping[str, str]) -> str:
    name, version = quote(package["name"], safe=""), quote(package["version"], safe="")
    if package["type"] == "deb":
        return f"pkg:deb/debian/{name}@{version}?arch={quote(package.get('arch', ''), safe='')}"
    return f"pkg:pypi/{name.lower()}@{version}"


def _digest(value: str) -> dict[str, str]:
    algorithm, _, digest = value.partition(":")
    return {algorithm: digest}


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat().replace("+00:00", "Z")
