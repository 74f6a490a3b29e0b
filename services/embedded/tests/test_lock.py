import os

import pytest

from services.common.errors import FailedPrecondition
from services.embedded.backend_file import BackendFile, read_backend_file, remove_backend_file
from services.embedded.lock import DirectoryLock, is_held


def test_a_directory_has_one_holder(tmp_path):
    """The second one is told who the first is; when that lets go the lock is free."""
    assert not is_held(tmp_path)
    first, second = DirectoryLock(tmp_path), DirectoryLock(tmp_path)
    first.acquire()
    assert is_held(tmp_path)
    with pytest.raises(FailedPrecondition, match=f"process {os.getpid()}, which is starting or stopping"):
        second.acquire()
    first.note("127.0.0.1:1234")
    with pytest.raises(
        FailedPrecondition, match=r"serving at 127\.0\.0\.1:1234, uses the data directory"
    ) as caught:
        second.acquire()
    assert str(tmp_path) in caught.value.message
    first.release()
    first.release()
    second.acquire()
    second.release()
    assert not is_held(tmp_path)


def test_the_backend_file_is_read_as_written(tmp_path):
    """What was written is read; nothing, or something else, is None."""
    file = BackendFile(1, "127.0.0.1:1", "http://127.0.0.1:2", "0.1", "now")
    assert read_backend_file(tmp_path) is None
    file.write(tmp_path)
    assert read_backend_file(tmp_path) == file
    (tmp_path / "backend.json").write_text('{"pid": 1}')
    assert read_backend_file(tmp_path) is None
    remove_backend_file(tmp_path)
    remove_backend_file(tmp_path)
    assert list(tmp_path.iterdir()) == []
