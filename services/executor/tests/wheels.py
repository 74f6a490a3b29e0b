"""Wheels and sources made on the spot, so that tests of the package installer need no registry."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

_QUARRY = """[project]
name = "quarry"
version = "1"
requires-python = ">=3.10"
dependencies = ["stone-priv", "gravel"]
[tool.uv.sources]
stone-priv = {{ index = "ix" }}
gravel = {{ path = "libs/gravel" }}
[[tool.uv.index]]
name = "ix"
url = "{url}"
explicit = true
"""
_GRAVEL = {
    "pyproject.toml": """[project]
name = "gravel"
version = "1"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
""",
    "backend.py": """import pathlib, zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "gravel-1-py3-none-any.whl"
    info = "gravel-1.dist-info"
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as wheel:
        wheel.writestr("gravel.py", "X = 1")
        wheel.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: gravel\\nVersion: 1\\n")
        wheel.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "/RECORD", f"gravel.py,,\\n{info}/METADATA,,\\n{info}/WHEEL,,\\n{info}/RECORD,,\\n")
    return name
""",
}
"""A package that builds itself, with nothing fetched."""


def write_wheel(directory: Path, name: str, version: str = "1.0", requires: tuple[str, ...] = ()) -> Path:
    """Writes a wheel with one module that has a VERSION."""
    info = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(file, text)
    return path


def write_source(directory: Path, name: str, build: str) -> Path:
    """Writes a source distribution whose build runs a program of Python, and comes to nothing."""
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "build"\nbackend-path = ["."]\n',
        "build.py": f"def build_wheel(*arguments, **more):\n    exec({build!r})\n",
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for file, text in files.items():
            entry = tarfile.TarInfo(f"{name}-1.0/{file}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def write_quarry(directory: Path, url: str) -> str:
    """Writes a project of `uv` with `stone-priv`, of an index IX, and `gravel`, of a folder. Returns its text."""
    folder = directory / "libs" / "gravel"
    folder.mkdir(parents=True)
    for name, text in _GRAVEL.items():
        (folder / name).write_text(text)
    project = _QUARRY.format(url=url)
    (directory / "pyproject.toml").write_text(project)
    return project
