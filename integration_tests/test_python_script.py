"""Python files that are run as they are."""

import json

import pytest

SCRIPT = """
    import pathlib
    import sys

    print("arguments", sys.argv[1:])
    print("data", pathlib.Path("data/rows.csv").read_text())
    pathlib.Path("out/result.txt").write_text("done")
    for number in range(100):
        print("line", number)
    print("on standard error", file=sys.stderr)
    sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("where", [("run",), ("run", "--local")])
def test_a_script_runs_as_it_is(backend, workspace, where):
    """Arguments and files reach it; the last 80 lines, the exit code and the output directory come back."""
    workspace.write("script.py", SCRIPT)
    workspace.write("data/rows.csv", "1,2")
    options = ("--include-files", "data/*.csv", "--output-dir", "out", "--timeout", "300")
    done = workspace.flyte(
        "-of", "json-raw", *where, "python-script", "script.py", *options, "--extra-args", "3,x", code=1
    )
    result = json.loads(done.lines[-1])
    lines = result["output"].splitlines()
    assert (result["exit_code"], len(lines), lines[-1]) == (3, 80, "on standard error")
    assert result["directory"]
    good = workspace.flyte(*where, "python-script", "script.py", *options, "--extra-args", "0")
    assert "The script ended with exit code 0." in good.lines
    if where == ("run",):
        log = backend.api.log_lines(result["run"])
        assert log[:2] == ["arguments ['3', 'x']", "data 1,2"]
        workspace.write("client.py", CLIENT)
        assert workspace.python("client.py").lines == ["5", "done"]


CLIENT = """
    import flyte

    flyte.init_from_config()
    run = flyte.run_python_script(
        "script.py", include_files=["data/*"], extra_args=["5"], output_dir="out", memory="256Mi"
    )
    result = run.result()
    print(result.exit_code)
    (file,) = result.directory.walk_sync()
    with file.open_sync() as content:
        print(content.read().decode())
"""


def test_what_is_wrong_is_said_before_anything_runs(workspace):
    """Missing files, patterns without a match, parameters that exclude each other."""
    workspace.write("script.py", "print(1)")
    for arguments, words in (
        (["nowhere.py"], "nowhere.py"),
        (["script.py", "--include-files", "*.csv"], "names no file"),
        (["script.py", "--image", "x", "--packages", "y"], "exclude each other"),
        (["script.py", "--output-dir", "/tmp/x"], "must be below"),
    ):
        refused = workspace.flyte("run", "python-script", *arguments, code=2)
        assert words in refused.err
