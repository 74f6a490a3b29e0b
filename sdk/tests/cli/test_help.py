"""What the command line says of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from flyte.cli._gen import reference
from flyte.cli.main import cli
from sdk.tests.cli.conftest import command

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "cli.md"
# What takes long to import, and help does not need.
HEAVY = {
    "grpc",
    "google.protobuf",
    "hangar",
    "pydantic",
    "yaml",
    "pandas",
    "numpy",
    "textual",
    "sqlite3",
    "obstore",
}


def commands(found=cli, ctx=None):
    """Every command with its path."""
    ctx = ctx or click.Context(cli, info_name="flyte")
    yield ctx.command_path, found
    if isinstance(found, click.Group):
        for name in found.list_commands(ctx):
            below = found.get_command(ctx, name)
            yield from commands(below, click.Context(below, parent=ctx, info_name=name))


def test_the_reference_is_that_of_the_commands():
    """`docs/reference/cli.md` is what `flyte gen docs` writes: after a change write it again."""
    assert REFERENCE.read_text("utf-8") == "\n".join(reference(cli)) + "\n"


@pytest.mark.parametrize(("path", "found"), [pytest.param(*each, id=each[0]) for each in commands()])
def test_every_command_teaches(path, found):
    """A sentence, a meaning for each option, and examples that are commands."""
    assert found.help
    assert found.help.strip().split("\n")[0].endswith((".", "."))
    for parameter in found.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, parameter.name
    assert found.epilog or isinstance(found, click.Group), f"{path} has no examples"
    for line in (found.epilog or "").strip().splitlines():
        assert "flyte " in line


def loaded(*arguments):
    """Modules that a command line imports."""
    code = (
        "import sys; from flyte.cli.main import invoke; invoke(sys.argv[1:]); "
        "print('\\nLOADED', *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stderr.rpartition("LOADED ")[2].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["get", "--help"],
        ["get", "run", "--help"],
        ["start", "--help"],
    ],
)
def test_help_imports_nothing_heavy(arguments):
    """So it is there at once: see the targets in `docs/guides/local.md`."""
    assert loaded(*arguments) & HEAVY == set()


def test_help_of_a_file_imports_no_client(work):
    """The tasks of a file need their types, neither gRPC nor the stubs nor a data library."""
    found = loaded("run", str(work / "flow.py"), "--help")
    assert found & (HEAVY - {"pydantic", "numpy"}) == set()


def test_import_flyte_imports_nothing_heavy():
    """Not even click or asyncio."""
    code = "import flyte, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert set(done.stdout.split()) & (HEAVY | {"click", "asyncio", "rich", "cloudpickle"}) == set()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("flyte g", ["get", "gen"]),
        ("flyte get r", ["run", "report"]),
        ("flyte run flow.py gr", ["greet"]),
        ("flyte run flow.py greet --na", ["--name"]),
    ],
)
def test_completion(work, environment, words, expected):
    """Commands, tasks of a file and their options are completed."""
    parts = words.split()
    done = subprocess.run(
        command(),
        cwd=work,
        env={
            **environment,
            "_FLYTE_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(parts) - 1),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = [line.partition(",")[2] for line in done.stdout.splitlines()]
    assert set(expected) <= set(found), done
