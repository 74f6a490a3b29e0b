"""Layers of files, commands and settings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flyte._caller import caller
from flyte._image_checks import secrets
from flyte._image_layers import LocalFile, LocalFiles, Pairs, StrPath, local_path, string_list
from flyte._image_stack import Stack

if TYPE_CHECKING:
    from typing_extensions import Self


class Steps(Stack):
    """The methods of `flyte.Image` that add files, commands and settings."""

    def with_env_vars(self, env_vars: Mapping[str, str]) -> Self:
        """Set environment variables.

        Args:
            env_vars: Names and values.

        Raises:
            TypeError: A name or value is not a string.
            ValueError: A name is none, or a value has a line break.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_env_vars({"TOKENIZERS_PARALLELISM": "false"})
            ```
        """
        from flyte._texts import check_env_vars

        variables = check_env_vars(env_vars)
        for name, value in variables.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(
                    f"Image.with_env_vars: {name!r} is no name: use letters, digits and _, no digit first"
                )
            if "\n" in value or "\r" in value:
                raise ValueError(
                    f"Image.with_env_vars: {name} has a line break, which images cannot carry: set it with env_vars= "
                    "of the environment or of the run"
                )
        return self._with("env", vars=Pairs(tuple(variables.items())))

    def with_commands(self, commands: Sequence[str], secret_mounts: Any = None) -> Self:
        """Run shell commands while the image is made. Needs an engine with containers.

        Args:
            commands: One command per entry, of one line or several. Each is run as `/bin/sh -c` runs it, and can be
                read in the image's history.
            secret_mounts: Secrets that are seen while the layer is made, and are in no layer: keys, or
                objects with `key` and `as_env_var`. Values come from environment variables of the caller, or from the
                builder's host.

        Raises:
            TypeError: It is a string instead of a list.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_commands(["useradd worker"])
            ```
        """
        where = "Image.with_commands"
        if isinstance(commands, str):
            raise TypeError(f"{where} takes a list: with_commands([{commands!r}])")
        found = string_list(where, commands, lines=True)
        return self._with("commands", commands=found, **secrets(where, secret_mounts))

    def with_workdir(self, workdir: str) -> Self:
        """Set the working directory, for later layers and for tasks. Needs an engine with containers.

        Args:
            workdir: Absolute path inside the image.

        Raises:
            ValueError: The path is not absolute.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_workdir("/app")
            ```
        """
        path = string_list("Image.with_workdir", [workdir])[0]
        if not path.startswith("/"):
            raise ValueError(f"Image.with_workdir: {path!r} must be an absolute path, such as '/app'")
        return self._with("workdir", path=path)

    def with_source_file(self, src: StrPath | Sequence[StrPath], dst: str = ".") -> Self:
        """Copy files into the image. Tasks find them in their working directory. See also `include=`.

        Args:
            src: File or files.
            dst: Directory inside the image, relative to the working directory. An absolute one needs an engine
                with containers.

        Raises:
            ValueError: When the definition is needed: a file does not exist, or two have one name.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_source_file("settings.toml")
            ```
        """
        where = "Image.with_source_file"
        if not isinstance(src, (str, os.PathLike, Iterable)):
            raise TypeError(f"{where} takes a file or several, not {src!r}")
        sources = [src] if isinstance(src, (str, os.PathLike)) else list(src)
        paths = tuple(local_path(source, caller()[0]) for source in sources)
        if not paths:
            raise ValueError(f"{where} needs at least one file")
        return self._with(
            "source_file",
            names=[path.name for path in paths],
            archive=LocalFiles(paths, "files"),
            dst=string_list(f"{where}(dst=…)", [dst])[0],
        )

    def with_source_folder(self, src: StrPath, dst: str = ".", copy_contents_only: bool = False) -> Self:
        """Copy a directory into the image, without caches, compiled Python files and `.git`.

        Links are copied as links, wherever they lead.

        Args:
            src: Directory.
            dst: Directory inside the image, relative to the working directory. An absolute one needs an engine
                with containers.
            copy_contents_only: True to copy what is in the directory, not the directory itself.

        Raises:
            ValueError: When the definition is needed: it is no directory, or something in it cannot be read.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_source_folder("models", dst="/models")
            ```
        """
        folder = local_path(src, caller()[0])
        if folder.name in {"", ".."}:
            folder = folder.resolve()
        form = "contents" if copy_contents_only else "folder"
        if form == "folder" and not folder.name:
            raise ValueError(f"Image.with_source_folder: {folder} has no name: give copy_contents_only=True")
        return self._with(
            "source_folder",
            names=[folder.name if form == "folder" else "the contents of a folder"],
            archive=LocalFiles((folder,), form),
            dst=string_list("Image.with_source_folder(dst=…)", [dst])[0],
        )

    def with_code_bundle(
        self, copy_style: Literal["loaded_modules", "all"] = "loaded_modules", dst: str = "."
    ) -> Self:
        """Put the code into the image, for runs with `copy_style="none"`; with others it is sent along.

        Args:
            copy_style: "loaded_modules" for the imported modules, "all" for everything below the root directory.
            dst: Directory inside the image, relative to the working directory.

        Raises:
            ValueError: The copy style is unknown.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_code_bundle()
            ```
        """
        if copy_style not in ("loaded_modules", "all"):
            raise ValueError(
                f'Image.with_code_bundle: copy_style={copy_style!r} must be "loaded_modules" or "all"'
            )
        code = LocalFiles((Path(copy_style),), "code")
        return self._with(
            "code_bundle", archive=code, dst=string_list("Image.with_code_bundle(dst=…)", [dst])[0]
        )

    def with_dockerignore(self, path: StrPath) -> Self:
        """Name a file of patterns, as in a `.dockerignore`, that copies of files and folders leave out.

        Args:
            path: The file.

        Raises:
            ValueError: When the definition is needed: it cannot be read.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_dockerignore(".dockerignore")
            ```
        """
        return self._with("dockerignore", file=LocalFile(local_path(path, caller()[0]), "text"))
