import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fastscnn.runtime import ArtifactError, OutputError
from fastscnn.runtime.artifacts import files
from fastscnn.runtime.artifacts.files import Partial, held, sweep, whole, write_atomically, write_together


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


def in_a_process_that_dies(work: Callable[[], object]) -> None:
    """Run `work` in a forked process, which kills itself there."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_next_writer_sweeps_up_what_the_dead_left_and_nothing_else(tmp_path: Path) -> None:
    def write_and_die() -> None:
        Partial(tmp_path / "file.bin").write(b"half")
        die()

    mine = [".movie.0123abcd.part.mp4", "x.0123abcd.fastscnn.part.bin", ".notes"]
    for name in mine:
        (tmp_path / name).write_bytes(b"not of this project")
    with Partial(tmp_path / "other.bin") as living:
        in_a_process_that_dies(write_and_die)
        files._swept.clear()
        assert len(list(tmp_path.glob(".*.fastscnn.part.bin"))) == 2
        write_atomically(tmp_path / "file.bin", b"new")
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine, "file.bin", living.place.name])
        living.write(b"still mine")
        living.finish()
    assert (tmp_path / "other.bin").read_bytes() == b"still mine"


def test_a_folder_is_swept_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(tmp_path)
    monkeypatch.setattr(os, "scandir", lambda path: pytest.fail("a folder of a million images would be read for each"))
    write_atomically(tmp_path / "file.bin", b"new")


@pytest.mark.parametrize("replacements", [0, 1, 2])
def test_a_set_is_completed_that_its_writer_died_over(tmp_path: Path, replacements: int) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    write_together({first: b"old", second: b"old"})
    honest = Path.replace

    def write_and_die() -> None:
        done: list[Path] = []

        def replace(self: Path, target: Path) -> Path:
            if len(done) == replacements:
                die()
            done.append(target)
            return honest(self, target)

        Path.replace = replace  # type: ignore[method-assign, assignment]
        write_together({first: b"new", second: b"new"})
        die()

    in_a_process_that_dies(write_and_die)
    assert (first.read_bytes() == second.read_bytes()) == (replacements != 1)
    files._swept.clear()
    write_atomically(tmp_path / "c", b"another file of the same folder")
    assert first.read_bytes() == second.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_a_set_that_failed_is_not_completed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    write_together({first: b"old", second: b"old"})
    honest, undone = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        if target == second:
            raise OSError(28, "No space left on device")
        undone.append(list(tmp_path.glob("*.set")))
        return honest(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OutputError, match="No space left"):
        write_together({first: b"new", second: b"new"})
    assert undone[-1] == [], "whoever comes while it is undone finds no note to follow"
    assert first.read_bytes() == second.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    "note",
    ["", "{", "[]", "3", "[" * 100_000, '{"a": "b"}', '{".a.01234567.fastscnn.part": "../a"}', '{".a.01234567.fastscnn.part": 3}'],
)  # fmt: skip
def test_notes_of_others_move_nothing(tmp_path: Path, note: str) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / ".01234567.fastscnn.set").write_text(note)
    (folder / ".a.01234567.fastscnn.part").write_bytes(b"left")
    (folder / "a").write_bytes(b"kept")
    write_atomically(folder / "c", b"")
    assert (folder / "a").read_bytes() == b"kept"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "c", "inside"]


def test_without_locks_nothing_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / ".a.01234567.fastscnn.part").write_bytes(b"perhaps alive")
    (tmp_path / ".01234567.fastscnn.set").write_text(json.dumps({".a.01234567.fastscnn.part": "a"}))
    with held(tmp_path):
        write_atomically(tmp_path / "b", b"new")
    assert len(list(tmp_path.iterdir())) == 3


def test_only_regular_files_of_a_sane_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    os.mkfifo(tmp_path / "pipe")
    assert whole(tmp_path / "file", 7, "a file") == b"content"
    opened = len(list(Path("/proc/self/fd").iterdir()))
    for place, most, says in (
        (tmp_path / "file", 6, "has 7 bytes; expected a file. Check the path"),
        (tmp_path / "pipe", 6, "it is no regular file"),
        ("/dev/zero", 6, "it is no regular file"),
        (tmp_path, 6, "it is no regular file"),
        (tmp_path / "absent", 6, "No such file"),
        ("null\0byte", 6, "null (byte|character)"),
    ):
        with pytest.raises(ArtifactError, match=says):
            whole(place, most, "a file")
    assert len(list(Path("/proc/self/fd").iterdir())) == opened, "the soak found a handle left open by a folder"
