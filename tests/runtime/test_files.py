import os
import threading
from pathlib import Path

import pytest

from fastscnn.runtime import OutputError
from fastscnn.runtime.files import write_atomically


def test_many_writers_leave_one_whole_file(tmp_path: Path) -> None:
    contents = [bytes([value]) * 500_000 for value in range(8)]
    target = tmp_path / "file.bin"
    writers = [threading.Thread(target=write_atomically, args=(target, content)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert target.read_bytes() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "file.bin"
    folder.mkdir()
    with pytest.raises(OutputError, match=r"file\.bin cannot be written"):
        write_atomically(folder, b"new")
    with pytest.raises(OutputError, match="No such file"):
        write_atomically(tmp_path / "absent" / "file.bin", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_links_are_followed_and_devices_are_written_into(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[bytes] = []
    listener = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    listener.start()
    write_atomically(pipe, b"through")
    listener.join(timeout=10)
    assert heard == [b"through"]
    assert pipe.is_fifo()
