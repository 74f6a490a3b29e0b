"""The outbox: what was committed survives, whatever happens to the process."""

import os
import signal
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from services.common.errors import FailedPrecondition
from services.executor.journal import Journal
from services.executor.outbox import Batch, ChunkRow, LeaseRow, Outbox, TraceRow
from services.executor.tests.scheduler_fake import until

WRITER = """
import sys
from functools import partial
from pathlib import Path
from services.executor.outbox import Batch, LeaseRow, Outbox
outbox = Outbox(Path(sys.argv[1]))
number = 0
while True:
    leases = range(number, number + 7)
    outbox.commit(Batch(leases=[LeaseRow(n, b"a" * 500, n % 3) for n in leases]))
    outbox.commit(Batch(results=[(b"r%d" % n, n) for n in leases]))
    number += 7
    print(number, flush=True)
"""


def test_everything_that_was_committed_survives_a_kill(tmp_path: Path):
    """A writer is killed in the middle, ten times; all that it said to be committed is there afterwards."""
    for attempt in range(10):
        path = tmp_path / f"outbox-{attempt}.db"
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(3 * attempt + 1):
            committed = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split("\n")
        writer.stdout.close()
        writer.wait()
        committed = max([committed, *(int(line) for line in rest[:-1] if line)])
        outbox = Outbox(path)
        leases = {row.lease_id: row for row in outbox.load().leases}
        outbox.close()
        assert set(range(committed)) <= set(leases)
        assert all(leases[number].result == b"r%d" % number for number in range(committed))
        assert len(leases) % 7 == 0, "batches are whole"


def test_a_batch_is_read_back_as_it_was_written(tmp_path: Path):
    """Every table keeps what is put into it, also when the file is opened again."""
    outbox = Outbox(tmp_path / "o.db")
    outbox.commit(
        Batch(
            specs=[("d1", b"spec")],
            workers=[(5, b"start")],
            leases=[LeaseRow(1, b"a1", 0), LeaseRow(2, b"a2", 5)],
            placed=[(5, 1)],
            started=[(77, 1)],
            results=[(b"first", 2)],
            chunks=[ChunkRow(2, 0, b"c0"), ChunkRow(2, 1, b"c1")],
            log_positions=[(2, 900, 2)],
            generations=[(4,)],
        )
    )
    outbox.commit(Batch(results=[(b"second", 2)], generations=[(3,)], leases=[LeaseRow(1, b"other", 9)]))
    outbox.close()
    restored = Outbox(tmp_path / "o.db").load()
    assert restored.specs == {"d1": b"spec"}
    assert restored.workers == {5: b"start"}
    assert restored.leases == [LeaseRow(1, b"a1", 5, 77), LeaseRow(2, b"a2", 5, 0, 2, 900, b"first")]
    assert restored.chunks == [ChunkRow(2, 0, b"c0"), ChunkRow(2, 1, b"c1")]
    assert restored.generation == 4


def test_what_is_forgotten_is_gone(tmp_path: Path):
    """Acknowledged leases, chunks and ended workers leave nothing behind."""
    outbox = Outbox(tmp_path / "o.db")
    outbox.commit(Batch(workers=[(5, b"s")], leases=[LeaseRow(1, b"a", 5)], chunks=[ChunkRow(1, 0, b"c")]))
    outbox.commit(Batch(forgotten_workers=[(5,)], forgotten_leases=[(1,)], forgotten_chunks=[(1, 0)]))
    restored = outbox.load()
    assert (restored.workers, restored.leases, restored.chunks) == ({}, [], [])


def test_a_damaged_file_is_refused_with_advice(tmp_path: Path):
    """The message names the file and what to do."""
    path = tmp_path / "o.db"
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(FailedPrecondition, match=r"o\.db cannot be used.*move it away"):
        Outbox(path)


def test_a_file_of_a_newer_program_is_refused(tmp_path: Path):
    """An older program does not touch what it does not understand."""
    path = tmp_path / "o.db"
    Outbox(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(FailedPrecondition, match="version is 99"):
        Outbox(path)


async def test_what_queues_up_is_one_commit(tmp_path: Path):
    """All changes of one turn of the loop share a commit, and its callbacks run behind it in order."""
    outbox = Outbox(tmp_path / "o.db")
    journal = Journal(outbox)
    commits: list[int] = []
    commit = outbox.commit

    def counted(batch: Batch) -> None:
        commits.append(len(batch.leases))
        commit(batch)

    outbox.commit = counted  # type: ignore[method-assign]
    done: list[int] = []
    for number in range(50):
        journal.pending.leases.append(LeaseRow(number, b"a", 0))
        journal.commit_soon(partial(done.append, number))
    assert done == []
    await journal.settled()
    assert commits == [50]
    assert done == list(range(50))
    await journal.close()
    outbox.close()


async def test_a_write_that_fails_is_tried_again(tmp_path: Path, monkeypatch):
    """With a full disk nothing is confirmed and nothing is lost; when there is room it goes on."""
    monkeypatch.setattr("services.executor.journal.RETRY_SECONDS", 0.01)
    outbox = Outbox(tmp_path / "o.db")
    journal = Journal(outbox)
    commit = outbox.commit

    def full(batch: Batch) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    outbox.commit = full  # type: ignore[method-assign]
    done: list[bool] = []
    journal.pending.leases.append(LeaseRow(1, b"a", 0))
    journal.commit_soon(lambda: done.append(True))
    await until(lambda: journal.trouble)
    assert not done
    outbox.commit = commit  # type: ignore[method-assign]
    await until(lambda: done)
    assert journal.trouble == ""
    assert [row.lease_id for row in outbox.load().leases] == [1]
    await journal.close()
    outbox.close()


async def test_checkpoints_keep_the_log_small(tmp_path: Path, monkeypatch):
    """A long-lived outbox does not grow without bound."""
    monkeypatch.setattr("services.executor.journal.CHECKPOINT_BYTES", 100_000)
    monkeypatch.setattr("services.executor.journal.TRUNCATE_BYTES", 400_000)
    outbox = Outbox(tmp_path / "o.db")
    journal = Journal(outbox)
    sizes = []
    for number in range(300):
        journal.pending.leases.append(LeaseRow(number, b"a" * 5000, 0))
        journal.pending.forgotten_leases.append((number - 1,))
        await journal.settled()
        sizes.append(outbox.log_bytes())
    await journal.close()
    assert max(sizes) < 1_000_000
    assert [row.lease_id for row in outbox.load().leases] == [299]
    outbox.close()


def test_an_outbox_of_the_version_before_gets_a_place_for_traces(tmp_path):
    """What it held stays, and traced calls are kept until they or their lease are forgotten."""
    path = tmp_path / "outbox.db"
    outbox = Outbox(path)
    outbox.commit(Batch(leases=[LeaseRow(1, b"a", 0, 0, 0, 0)]))
    outbox.close()
    with sqlite3.connect(path) as db:
        db.executescript("DROP TABLE trace; PRAGMA user_version=1")
    outbox = Outbox(path)
    traces = [
        TraceRow(1, "k1", b"spec", b"1"),
        TraceRow(1, "k2", b"spec", b"2"),
        TraceRow(2, "k", b"spec", b"3"),
    ]
    outbox.commit(Batch(traces=traces))
    assert [row.lease_id for row in outbox.load().leases] == [1]
    assert outbox.load().traces == traces
    outbox.commit(Batch(forgotten_traces=[(2, "k")], forgotten_leases=[(1,)]))
    assert outbox.load().traces == []
    outbox.close()
