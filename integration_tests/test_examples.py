"""The examples of the repository, run as their readers run them."""

import json
import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.mark.timeout(600)  # the packages may have to be fetched
def test_digits(workspace):
    """The digits pipeline picks a model that is right for more than 95 of 100 digits that it has not seen."""
    done = workspace.flyte("-of", "json", "run", EXAMPLES / "digits" / "digits.py", "main", seconds=500)
    summary = json.loads(done.out)["outputs"]["o0"]
    assert 0.95 < summary["accuracy"] <= 1
    assert summary["tested_on"] == 450
    assert len(summary["top_five"]) == 5


@pytest.mark.timeout(600)  # the packages may have to be fetched
def test_figures(workspace):
    """Figures of matplotlib and plotly are in the report, which loads nothing from elsewhere; locally as well."""
    script = EXAMPLES / "reports" / "figures.py"
    run = json.loads(workspace.flyte("-of", "json", "run", script, "main", seconds=500).out)["name"]
    report = workspace.flyte("get", "report", run, "-o", "-").out
    done = workspace.flyte("run", "--local", script, "main", "--points", 10)
    [local] = [line.partition(": ")[2] for line in done.lines if line.startswith("Report: ")]
    for html in (report, Path(local).read_text()):
        assert '<img alt="A sine wave" src="data:image/png;base64,iVBOR' in html
        assert "Plotly.newPlot(" in html
        assert not re.search(r"<(script|img|link)[^>]*(src|href)=.?http", html)


def test_live_report(workspace):
    """The live report ends with its last epoch, and so does the progress."""
    run = json.loads(
        workspace.flyte(
            "-of", "json", "run", EXAMPLES / "reports" / "live.py", "main", "--seconds", "0.01"
        ).out
    )["name"]
    assert "<h1>Epoch 10 of 10</h1>" in workspace.flyte("get", "report", run, "-o", "-").out
    action = json.loads(workspace.flyte("-of", "json", "get", "action", run, "a0").out)
    assert action["progress"].startswith("10 of 10: loss 0.")


def test_wordcount(workspace):
    """The word count of two real files is the count that a plain loop gives."""
    root = EXAMPLES.parent
    files = [root / "LICENSE", root / "README.md"]
    done = workspace.python(EXAMPLES / "wordcount" / "wordcount.py", *files, "--top", 3)
    _, total, *top = done.lines
    words = [
        word.lower()
        for file in files
        for word in re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", file.read_text())
    ]
    assert total == f"{len(words)} words, {len(set(words))} of them distinct, in 2 files"
    for line in top:
        count, word = line.split()
        assert words.count(word) == int(count)
    assert len(top) == 3
