"""From a definition to a Dockerfile and the files beside it. Pure: data in, data out.

Each layer of the author becomes one instruction (one per command or variable), in the author's order. His commands are
part of the instruction, as in a Dockerfile of his own, unless an address in them has a password. What installs
packages is a script that is mounted while it runs, so that package indexes do not reach the image or its history.
Steps see the settings of the builder's host as build secrets, below `/dev/hangar/host`.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from services.common.errors import InvalidArgument
from services.common.image_definition import BUILT, KINDS, Definition, parse_definition
from services.common.image_layers import (
    AptLayer,
    Archive,
    BuildSecret,
    CommandsLayer,
    CopyLayer,
    DebianBase,
    DockerfileBase,
    EnvLayer,
    InstallLayer,
    Layer,
    ProjectLayer,
    WorkdirLayer,
    secrets_of,
)
from services.common.platforms import architecture
from services.common.redaction import Redaction
from services.image_builder import scripts
from services.image_builder.pythons import AS_ASSUMED, ELSEWHERE, Pythons
from services.image_builder.scripts import HOME, HOST, OLDEST_PYTHON, SECRETS, WORK

USER = "65532:65532"
"""User that the image starts as unless its engine says otherwise."""
HOST_FILES = ("settings", "netrc", "uv.toml")
"""Names of the build secrets, each `hangar-<name>`, mounted below `/dev/hangar/host` when the host has it."""

APP_DIRECTORY = "/app"
"""Working directory of images with a Debian base and files of the author, unless he names one."""

PACKAGES = f"{HOME}/packages.json"
"""File of an image that says what is installed in it, written by each step that installs something."""

BASE_PREFIX = "hangar/base-"
"""How the names of images begin that Dockerfiles of authors make."""

_APT_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*(:[a-z0-9-]+)?([=/][A-Za-z0-9*?][A-Za-z0-9.+:~*?-]*)?")
_KINDS = KINDS - {BUILT}
_MOVES_PYTHON = frozenset({"PATH", "PYTHONHOME"})
"""Variables with which another Python may run."""
_CACHE = f"--mount=type=cache,id=hangar-uv,target={WORK}/cache"
"""Where builds keep packages, and what they have compiled."""
_LONGEST_LINE = 65_000
"""Bytes of a line of a Dockerfile that every builder reads, without the instruction."""
_HOST_MOUNTS = {name: f"--mount=type=secret,id=hangar-{name},target={HOST}/{name}" for name in HOST_FILES}
_NEXT = " \\\n    "
"""Between the options of an instruction, and before its command."""
_SPECIAL = re.compile(r'([$\\"])')


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step of the builder.

    Attributes:
        text: What it does, for people.
        layer: Index of the definition's layer that it is of, None for the platform's own.
        after: How many layers of the definition come before it, for the platform's own.
    """

    text: str
    layer: int | None = None
    after: int = 0


@dataclass(frozen=True, slots=True)
class SdkContent:
    """The platform's SDK as images get it.

    Attributes:
        digest: Digest of its files.
        requirements: What has to be installed beside it.
        tools: Scripts of `inside` by file name.
    """

    digest: str
    requirements: tuple[str, ...]
    tools: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make one image.

    Attributes:
        name: Identity of the image: digest of all that it is made of.
        dockerfile: The Dockerfile.
        files: Files of the build context by path, without the SDK and the installer.
        base_image: Image that it is based on.
        steps: Steps as the builder numbers them, from 1.
        archives: Archives of the author by the directory of the build context that they are unpacked in.
        secrets: Secrets that steps see.
        base: What makes the base image first, None when it exists.
        definition: What it was made of.
        pythons: Where Python is in it.
    """

    name: str
    dockerfile: str
    files: Mapping[str, str]
    base_image: str
    steps: tuple[Step, ...]
    definition: Definition
    archives: Mapping[str, Archive] = field(default_factory=dict)
    secrets: tuple[BuildSecret, ...] = ()
    base: DockerfileBase | None = None
    pythons: Pythons = AS_ASSUMED

    def shown_by(self, step: Step | None, exit_code: int | None) -> Pythons | None:
        """Returns where Python is by a step that failed, None when that shows nothing with which it could succeed."""
        if exit_code != ELSEWHERE or step is None or not self.definition.has_sdk:
            return None
        if step.layer is not None:
            moved = self.pythons.moved | {step.layer + 1}
            return None if moved == self.pythons.moved else replace(self.pythons, moved=moved)
        later = self.definition.layers[step.after :]
        if not later or _needs_python(later[0]):  # nothing comes that could bring it in time
            return None
        return replace(self.pythons, absent=self.pythons.absent | {step.after})

    def dockerfile_on(self, host_files: Collection[str]) -> str:
        """Returns the Dockerfile for a host that has some of `HOST_FILES`.

        Asking for each other one would take a step a millisecond. The image's name does not depend on it. Where a host
        gets one more, layers are made again.
        """
        text = self.dockerfile
        for name in set(HOST_FILES) - set(host_files):
            text = text.replace(_HOST_MOUNTS[name] + _NEXT, "")
        return text

    @property
    def needs_installer(self) -> bool:
        """True when a step installs Python packages."""
        return _tool("uv") in self.dockerfile


def read_definition(definition_json: str) -> Definition:
    """Returns a definition that images can be made of; an empty text stands for the default image.

    Raises:
        InvalidArgument: The definition is wrong, or asks for what images cannot give yet. Names layer and field.
    """
    return parse_definition(definition_json, _KINDS, _refused)


def make_recipe(
    definition: Definition, base_image: str, sdk: SdkContent, platform: str, pythons: Pythons = AS_ASSUMED
) -> Recipe:
    """Returns how to make the image of a definition.

    Args:
        definition: The definition.
        base_image: Address behind Debian bases, with ``{python}`` in it, and ``{arch}`` where it has one per platform.
        sdk: The platform's SDK.
        platform: Platform of the image, such as "linux/amd64".
        pythons: Where Python is in it. The image's name does not depend on that.

    Raises:
        InvalidArgument: The definition is wrong. Names layer and field.
    """
    address = _base_address(definition, base_image, platform)
    draft = _Draft(definition, address, sdk, platform, AS_ASSUMED)
    parts = [draft.dockerfile, sorted(draft.files.items()), sdk.digest, platform]
    if draft.archives:
        parts.append(sorted((place, archive.sha256) for place, archive in draft.archives.items()))
    if definition.registry:
        parts.append([definition.registry, definition.repository])
    name = hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
    base = definition.base if isinstance(definition.base, DockerfileBase) else None
    if pythons != AS_ASSUMED:
        draft = _Draft(definition, address, sdk, platform, pythons)
    return Recipe(
        name,
        draft.dockerfile,
        draft.files,
        draft.base_image,
        tuple(draft.steps),
        definition,
        draft.archives,
        secrets_of(definition.layers),
        base,
        pythons,
    )


class _Draft:
    """A Dockerfile and what it needs, written from top to bottom."""

    def __init__(
        self, definition: Definition, base_image: str, sdk: SdkContent, platform: str, pythons: Pythons
    ) -> None:
        self.definition = definition
        self.base_image = base_image
        self.sdk = sdk
        self.platform = platform
        self.pythons = pythons
        self.lines = [f"FROM {base_image}", "USER 0:0"]
        self.steps = [Step(f"base image {base_image}")]
        self.archives: dict[str, Archive] = {}
        self.files = {
            "tools/overrides.txt": scripts.overrides(),
            "tools/sdk-requirements.txt": scripts.lines(sdk.requirements),
            **{f"tools/{name}": text for name, text in sdk.tools.items()},
        }
        self._is_python_checked = False
        self._had_sdk = self._has_sdk = False
        self._write()

    @property
    def dockerfile(self) -> str:
        """The Dockerfile."""
        return "\n".join(self.lines) + "\n"

    def _write(self) -> None:
        self._python_comes(0)
        self._work_in()
        for index, layer in enumerate(self.definition.layers):
            if _needs_python(layer):
                self._need_python(index)
            if index + 1 in self.pythons.moved:
                self._has_sdk = False  # which its steps could not keep
            self._add(index, layer)
            moves = isinstance(layer, EnvLayer) and _MOVES_PYTHON & layer.variables.keys()
            if moves or index + 1 in self.pythons.moved:
                self._python_comes(index + 1)
        if self.definition.has_sdk:
            self._need_python(len(self.definition.layers))
            self.lines.append(f"USER {USER}")
        elif not self.definition.layers:
            self.lines.remove("USER 0:0")

    def _work_in(self) -> None:
        """Gives files of the author a place, where the base has none of its own."""
        layers = self.definition.layers
        copies = [layer for layer in layers if isinstance(layer, CopyLayer)]
        if not self._is_debian or any(isinstance(layer, WorkdirLayer) for layer in layers):
            return
        if any(not copy.destination.startswith("/") for copy in copies):
            self.lines.append(f"WORKDIR {APP_DIRECTORY}")
            self.steps.append(Step(f"work in {APP_DIRECTORY}"))

    @property
    def _is_debian(self) -> bool:
        return isinstance(self.definition.base, DebianBase)

    def _add(self, index: int, layer: Layer) -> None:
        """Adds a layer of the author."""
        here = f"layers/{index}"
        if isinstance(layer, InstallLayer):
            if layer.requirements:
                self._install(here, index, layer)
        elif isinstance(layer, ProjectLayer):
            self._add_project(here, index, layer)
        elif isinstance(layer, CopyLayer):
            self.archives[f"{here}/files"] = layer.archive
            # BuildKit takes quotes, variables and escapes in these, too.
            destination = re.sub(r"([\\\"'$])", r"\\\1", layer.destination.rstrip("/") + "/")
            self.lines.append(f"COPY {json.dumps([f'{here}/files/', destination], ensure_ascii=False)}")
            self.steps.append(_step(index, f"copy {layer.what} to {layer.destination}"))
        elif isinstance(layer, EnvLayer):
            self.lines += [f"ENV {_variable(index, *pair)}" for pair in layer.variables.items()]
        elif isinstance(layer, AptLayer):
            _check_apt(index, layer)
            step = _step(index, f"apt-get install {' '.join(layer.packages)}")
            base = hashlib.blake2b(f"{self.base_image} {self.platform}".encode(), digest_size=4).hexdigest()
            cache = f"--mount=type=cache,id=hangar-apt-{base},sharing=locked,target={WORK}/apt"
            script = scripts.install_apt(layer.packages, layer.secrets)
            self._run(here, script, step, [cache, *_secret_mounts(layer.secrets)])
        elif isinstance(layer, CommandsLayer):
            for number, command in enumerate(layer.commands):
                script = scripts.run_command(command, layer.secrets)
                step = _step(index, f"run {command}")
                self._run_command(f"{here}/{number}", script, step, _secret_mounts(layer.secrets))
        else:
            self.lines.append(f"WORKDIR {_quoted(layer.path)}")
            self.steps.append(_step(index, f"work in {layer.path}"))
            top = posixpath.normpath(layer.path).lstrip("/").partition("/")[0]
            if self.definition.has_sdk and (top == "root" or not self._is_debian):
                step = _step(index, f"let tasks read {layer.path}")
                self._instruction([], ["/bin/sh", "-c", scripts.OPEN_DIRECTORY], step)

    def _install(self, here: str, index: int, layer: InstallLayer) -> None:
        """Adds packages; heavy ones first, by themselves, so that another small one does not fetch them again.

        The whole is installed on top of them: what it cannot live with is replaced then, so the outcome is what
        all requirements ask for together.
        """
        heavy = layer.heavy
        for suffix, part in [*([("/heavy", heavy)] if heavy is not None else []), ("", layer)]:
            name, text = part.file
            self.files[f"{here}{suffix}/{name}"] = text
            wanted = ", ".join(part.names) or "; ".join(part.requirements)
            mounts = [*_installer(), *_secret_mounts(part.secrets)]
            script = scripts.install(part, has_sdk=self.definition.has_sdk)
            self._run(f"{here}{suffix}", script, _step(index, f"install {wanted}"), mounts)

    def _add_project(self, here: str, index: int, layer: ProjectLayer) -> None:
        mounts = [*_installer(), *_secret_mounts(layer.install.secrets)]
        parts = [(here, layer.local, scripts.install_locked, f"install what {layer.lock_name} locks")]
        if layer.source is not None:
            parts.append((f"{here}/project", layer.source, scripts.install_project, "install the project"))
        for place, files, script, text in parts:
            self.files |= {
                f"{place}/pyproject.toml": layer.pyproject,
                f"{place}/{layer.lock_name}": layer.lock,
            }
            if files is not None:
                self.archives[f"{place}/files"] = files
            self._run(place, script(layer, has_sdk=self.definition.has_sdk), _step(index, text), mounts)

    def _python_comes(self, after: int) -> None:
        """Adds the platform's SDK where there is a Python, or another one than before, after so many layers."""
        self._is_python_checked = self._has_sdk = False
        if self.definition.has_sdk and after not in self.pythons.absent:
            self._add_sdk(after)

    def _need_python(self, after: int) -> None:
        """Sees to it that there is Python from here on, with the SDK where the image has that."""
        if self.definition.has_sdk:
            if not self._has_sdk:
                self._add_sdk(after)
        elif not self._is_python_checked:
            self._is_python_checked = True
            self._check_python(after)

    def _check_python(self, after: int) -> None:
        tools = [_CACHE, _tool("uv"), _tool("prepare_python.py"), _tool("compile_python.py")]
        self._run(
            "python",
            scripts.check_python(self.platform, self._why_no_python(after)),
            Step("check Python"),
            tools,
        )

    def _why_no_python(self, after: int) -> str:
        """Says which of so many layers may have left none: that which set PATH, or the last; empty for neither."""
        for index, layer in reversed([*enumerate(self.definition.layers[:after])]):
            if isinstance(layer, EnvLayer) and "PATH" in layer.variables:
                path = layer.variables["PATH"]
                return (
                    f". Layer {index} sets PATH, word for word, to {path!r} (a $ stands for nothing): name the "
                    "directory of python3 in it"
                )
        return f". Layer {after - 1} left none" if after in self.pythons.moved else ""

    def _add_sdk(self, after: int) -> None:
        """Adds the SDK: layers that all images of a base share, or one layer behind what is the author's."""
        sdk = [f"--mount=type=bind,source=sdk.zip,target={WORK}/sdk.zip", _tool("install_sdk.py")]
        if after or isinstance(self.definition.base, DockerfileBase):
            installs = [la for la in self.definition.layers[:after] if isinstance(la, InstallLayer)]
            named = tuple(sorted({name for layer in installs for name in layer.names}))
            script = scripts.install_sdk_into_another_python(
                named, self.platform, self._why_no_python(after), was_there=self._had_sdk
            )
            step = Step("install the platform's SDK and what it needs", after=after)
            self._run(f"sdk/{after}", script, step, [*_installer(), _tool("prepare_python.py"), *sdk])
        else:
            self._check_python(after)
            step = Step("install what the platform's SDK needs")
            self._run("sdk-requirements", scripts.install_sdk_requirements(()), step, _installer())
            self._instruction(sdk, list(scripts.INSTALL_SDK), Step("install the platform's SDK"))
        self._has_sdk = self._had_sdk = True

    def _run(self, directory: str, script: str, step: Step, mounts: list[str] | None = None) -> None:
        """Adds a step that runs a script, with its directory and the host's settings mounted."""
        self.files[f"{directory}/run.sh"] = script
        layer = f"--mount=type=bind,source={directory},target={WORK}/layer"
        self._instruction(
            [layer, *_HOST_MOUNTS.values(), *(mounts or [])], self._shell(f"{WORK}/layer/run.sh"), step
        )

    def _run_command(self, directory: str, script: str, step: Step, mounts: list[str]) -> None:
        """Adds a step that runs a script which is part of the instruction: not too long, without a password."""
        command = self._shell("-c", script)
        if len(_exec_form(command)) > _LONGEST_LINE or Redaction().hiding_addresses(script).hidden:
            self._run(directory, script, step, mounts)
        else:
            self._instruction([*_HOST_MOUNTS.values(), *mounts], command, step)

    def _shell(self, *arguments: str) -> list[str]:
        """The shell as steps of the author run it: where the SDK is, they are looked after."""
        return ["/bin/sh", *([f"{HOME}/step.sh"] if self._has_sdk else []), *arguments]

    def _instruction(self, mounts: list[str], command: list[str], step: Step) -> None:
        in_memory = any(f"target={WORK}/" in mount for mount in mounts)
        options = [f"--mount=type=tmpfs,target={WORK}"] if in_memory else []
        self.lines.append("RUN " + _NEXT.join([*options, *mounts, _exec_form(command)]))
        self.steps.append(step)


def _needs_python(layer: Layer) -> bool:
    return isinstance(layer, ProjectLayer) or (isinstance(layer, InstallLayer) and bool(layer.requirements))


def _step(index: int, text: str) -> Step:
    text = f"layer {index}: {' '.join(text.split())}"
    return Step(text if len(text) <= 100 else f"{text[:97]}...", index)


def _tool(name: str) -> str:
    return f"--mount=type=bind,source=tools/{name},target={WORK}/tools/{name}"


def _exec_form(command: list[str]) -> str:
    """A command as instructions carry it, in one line of ASCII; no builder takes `<<` in it for a document."""
    return json.dumps(command).replace("<", "\\u003c")


def _installer() -> list[str]:
    tools = ("uv", "compile_python.py", "overrides.txt", "sdk-requirements.txt")
    return [_CACHE, *map(_tool, tools)]


def _secret_mounts(secrets: tuple[BuildSecret, ...]) -> list[str]:
    return [
        f"--mount=type=secret,id=hangar-secret-{secret.key},required=true,target="
        + (f"{SECRETS}/{secret.key}" if secret.variable else f"{secret.file},mode=0444")
        for secret in secrets
    ]


def _base_address(definition: Definition, template: str, platform: str) -> str:
    base = definition.base
    if isinstance(base, DockerfileBase):
        content = json.dumps([base.text, base.context.sha256 if base.context else "", platform])
        return f"{BASE_PREFIX}{hashlib.blake2b(content.encode(), digest_size=16).hexdigest()}"
    if isinstance(base, DebianBase):
        if tuple(int(part) for part in base.python.split("."))[:2] < OLDEST_PYTHON:
            oldest = ".".join(map(str, OLDEST_PYTHON))
            raise _wrong("base.python", f"is {base.python!r}", f"tasks need Python {oldest} or newer")
        return template.replace("{python}", base.python).replace("{arch}", architecture(platform))
    if re.search(r"[\s$\\]", base.uri) or base.uri.startswith("-"):
        raise _wrong("base.uri", f"is {base.uri!r}", "use the address of an image such as 'python:3.12-slim'")
    if base.uri == "scratch":
        raise _wrong("base.uri", "is 'scratch', which has no Python", "use an image with Python")
    return base.uri


def _check_apt(index: int, layer: AptLayer) -> None:
    for number, package in enumerate(layer.packages):
        if not _APT_PACKAGE.fullmatch(package):
            where = f"layers[{index}].packages[{number}]"
            fix = "use the name of a Debian package, and a version as apt takes it, such as 'ffmpeg' or 'ffmpeg=7:5.*'"
            raise _wrong(where, f"is {package!r}", fix)


def _variable(index: int, name: str, value: str) -> str:
    where, fix = f"layers[{index}].vars.{name}", "set it with env_vars of the environment or of the run"
    if "\n" in value or "\r" in value:
        raise _wrong(where, "has a line break", f"images cannot carry it; {fix}")
    line = f"{name}={_quoted(value)}"
    if len(line.encode()) > _LONGEST_LINE:
        size = f"has {len(line.encode())} bytes with its name and quotes"
        raise _wrong(
            where, size, f"images carry {_LONGEST_LINE}; put it into a file (with_source_file), or {fix}"
        )
    return line


def _quoted(value: str) -> str:
    return '"' + _SPECIAL.sub(r"\\\1", value) + '"'


def _refused(where: str, kind: str) -> InvalidArgument:
    what, fix = f"is {kind!r}, which is not known", f"use one of {', '.join(sorted(_KINDS))}"
    if kind == BUILT:
        what, fix = "is 'built': the image is there already", "hosts with the Docker engine take it as it is"
    return _wrong(f"{where}.kind", what, fix, reason="IMAGE_LAYER_NOT_AVAILABLE")


def _wrong(where: str, what: str, fix: str, reason: str = "IMAGE_DEFINITION_INVALID") -> InvalidArgument:
    message = f"image definition: {where} {what}: {fix}"
    return InvalidArgument(message, reason=reason, field=f"definition_json.{where}")
