import threading
import time

import pytest

from fastscnn.runtime.decode.crew import Crew, parts


def test_parts_cover_all_and_overlap_nowhere() -> None:
    assert parts(2, 9, 3) == [(2, 5), (5, 8), (8, 9)]
    assert parts(0, 0, 3) == []


def test_every_part_is_done_once_by_all_threads() -> None:
    crew, together = Crew(3), threading.Barrier(3, timeout=10)
    done: list[tuple[int, int]] = []

    def work(first: int, last: int) -> None:
        if first < 3:
            together.wait()  # three are at work at once
        done.append((first, last))

    crew.share(work, parts(0, 40, 1))
    assert sorted(done) == parts(0, 40, 1)
    crew.close()
    assert crew.threads == 1
    crew.share(work, parts(3, 9, 1))
    assert len(done) == 46


def test_helpers_that_are_held_up_hold_up_nobody() -> None:
    """Whose cores are busy with something else: what has not begun is not waited for."""
    crew, go = Crew(2), threading.Event()
    assert crew._pool is not None
    busy = crew._pool.submit(go.wait, 10)
    done: list[int] = []
    crew.share(lambda first, last: done.append(first), parts(0, 5, 1))
    assert done == [0, 1, 2, 3, 4] and not busy.done()
    go.set()
    crew.close()


def test_a_helper_that_lay_still_rests_for_a_while() -> None:
    crew, caller, began = Crew(2), threading.get_ident(), threading.Event()
    who: list[int] = []

    def work(first: int, last: int) -> None:
        who.append(threading.get_ident())
        if who[-1] != caller:
            began.set()
            time.sleep(0.2)  # its core does something else
        elif slow:
            began.wait(10)

    def alone() -> int:
        """How many pieces the caller then does by itself."""
        for count in range(2000):
            who.clear()
            began.clear()
            crew.share(work, parts(0, 2, 1))
            if set(who) != {caller}:
                return count
        return -1

    slow = True  # so that the helper is there before all is done
    assert alone() == 0
    slow = False
    for _ in range(16):
        who.clear()
        crew.share(work, parts(0, 2, 1))
        assert set(who) == {caller}
    slow = True
    assert alone() == 0, "it has rested"
    assert crew._rest == 32, "and rests twice as long, since nothing has changed"
    crew.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_errors_reach_the_caller(threads: int) -> None:
    def work(first: int, last: int) -> None:
        raise MemoryError(f"part {first}")

    crew = Crew(threads)
    with pytest.raises(MemoryError, match="part"):
        crew.share(work, parts(0, 5, 1))
    crew.close()
