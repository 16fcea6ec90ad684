import gc
import threading
import time

import numpy as np
import pytest
import test_stream as s
import torch

from darkroom.core.errors import DataError
from darkroom.data.stream import generator, stream
from darkroom.data.threads import ThreadLoader


def take(dataset, count, batch_size, start=0, **options):
    return s.take(dataset, count, batch_size, start, **{"workers_are": "threads", **options})


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
@pytest.mark.parametrize("prefetch", [1, 3])
def test_threads_make_the_batches_of_processes(workers, prefetch):
    for make in (lambda: s.Numbers(10), s.Groups, lambda: s.Mixed(9)):
        alone, found = s.take(make(), 9, 4), take(make(), 9, 4, workers=workers, prefetch=prefetch)
        assert [batch["path"] for batch in found] == [batch["path"] for batch in alone]
        for one, two in zip(found, alone, strict=True):
            assert one.keys() == two.keys()
            assert all(torch.equal(one[k], two[k]) for k in one if isinstance(one[k], torch.Tensor))


@pytest.mark.parametrize("start", [0, 3, 70_000])
def test_from_any_position(start):
    for make in (lambda: s.Numbers(10), s.Groups):
        through = s.samples(s.take(make(), 6, 4, start=start))
        assert s.samples(take(make(), 6, 4, start=start, workers=2)) == through


def test_a_restart_goes_on_elsewhere():
    data = stream(s.Numbers(10), 4, 7, workers=2, workers_are="threads")
    first = data.batches(2)
    next(first)
    second = data.batches(6)
    assert s.samples([next(second)]) == s.samples(s.take(s.Numbers(10), 1, 4, start=6))
    with pytest.raises(RuntimeError, match="another position"):
        next(first)
    data.close()
    assert list(second) == []
    with pytest.raises(RuntimeError, match="closed"):
        data.batches(0)


@pytest.mark.parametrize("workers", [1, 3])
def test_unreadable_files_and_errors_are_those_of_processes(workers):
    said, known = [], []
    found = take(s.Numbers(10, broken=(3, 4, 9)), 8, 5, workers=workers, warn=said.append)
    assert s.samples(found) == s.samples(s.take(s.Numbers(10, broken=(3, 4, 9)), 8, 5, warn=known.append))
    assert said == known
    assert len(said) == 3
    for dataset, size, message in (
        (s.Numbers(4, broken=range(4)), 2, "none of the 4 items"),
        (s.Fatal(4), 2, r"^the folder went away$"),
        (s.Sizes(4), 4, "differ in size"),
    ):
        with pytest.raises(DataError, match=message):
            take(dataset, 1, size, workers=workers)


class Counting(s.Numbers):
    """Items that take a while, and are counted."""

    def __init__(self, seconds, fails=False):
        super().__init__(1000)
        self.seconds, self.fails, self.made, self.now = seconds, fails, 0, 0

    def item(self, index, rng):
        self.made += 1
        if self.fails and self.made == 5:
            raise ZeroDivisionError("a fault of the program")
        self.now += 1
        time.sleep(self.seconds)
        self.now -= 1
        return super().item(index, rng)

    def rests(self):
        """Whether no more is made."""
        made = self.made
        time.sleep(0.1 + 2 * self.seconds)
        return not self.now and self.made == made


@pytest.mark.parametrize(("workers", "prefetch"), [(1, 1), (1, 4), (3, 2)])
def test_no_more_is_prepared_than_asked_for(workers, prefetch):
    dataset = Counting(0.0)
    data = stream(dataset, 2, 7, workers=workers, prefetch=prefetch, workers_are="threads")
    batches = data.batches()
    for taken in (0, 1, 2):
        for _ in range(min(taken, 1)):
            next(batches)
        end = time.monotonic() + 10
        while dataset.made < 2 * (workers * prefetch + taken) and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(0.05)
        assert dataset.made == 2 * (workers * prefetch + taken)
    data.close()


@pytest.mark.parametrize("restart", [False, True])
def test_ending_waits_for_one_item_at_most(restart):
    dataset = Counting(0.05)
    data = stream(dataset, 100, 7, workers=2, prefetch=4, workers_are="threads")
    data.batches()
    while dataset.made < 2:
        time.sleep(0.001)
    if restart:
        data._sampler.batch_size = 1
        data.batches()
        assert dataset.made <= 4 + 8  # of 800
    data.close()
    assert not dataset.now
    assert dataset.made <= 4 + 8 * restart
    assert dataset.rests()


def test_work_ends_with_a_stream_that_is_let_go():
    dataset = Counting(0.01)
    data = stream(dataset, 10, 7, workers=2, workers_are="threads")
    data.batches()
    while dataset.made < 2:
        time.sleep(0.001)
    del data
    gc.collect()
    assert dataset.rests()
    assert dataset.made < 10


def test_a_fault_of_the_program_is_raised():
    with pytest.raises(ZeroDivisionError):
        take(Counting(0.0, fails=True), 9, 4, workers=2)


def test_threads_never_end_but_are_used_again():
    """A process that is forked after one has ended may hang: see ``_pools``."""
    take(s.Numbers(10), 1, 4, workers=3)
    before = {t for t in threading.enumerate() if t.name.startswith("images")}
    for start in range(20):
        take(s.Numbers(10), 2, 4, start, workers=3)
    assert {t for t in threading.enumerate() if t.name.startswith("images")} == before


def test_torch_keeps_its_threads():
    before = torch.get_num_threads()
    within, later = [], []

    class Asking(s.Numbers):
        def item(self, index, rng):
            within.append(torch.get_num_threads())
            return super().item(index, rng)

    torch.set_num_threads(2)
    try:
        take(Asking(10), 3, 4, workers=2)
        other = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert (torch.get_num_threads(), {*within}, later) == (2, {1}, [2])
    finally:
        torch.set_num_threads(before)


def test_any_sampler_to_its_end():
    loader = ThreadLoader(
        [[1, 2], [3], [4, 5]], lambda n: {"n": n}, lambda items: {"all": [i["n"] for i in items]}, 2, 1
    )
    assert [batch["all"] for batch in loader] == [[1, 2], [3], [4, 5]]
    assert [batch["all"] for batch in loader] == [[1, 2], [3], [4, 5]]
    assert list(ThreadLoader([], lambda n: {}, lambda items: {}, 2, 1)) == []


def test_wrong_workers_are_refused():
    with pytest.raises(ValueError, match="expected processes or threads, found 'fibers'"):
        stream(s.Numbers(3), 2, 0, workers_are="fibers")


class Leftover(s.Numbers):
    """Draws numbers of all kinds, and so many that something of them is left over."""

    def item(self, index, rng):
        numbers = [
            rng.random(),
            rng.integers(2**32, dtype=np.uint32),
            rng.normal(),
            *rng.integers(5, size=index % 4 + 1),
        ]
        return {"chance": torch.tensor(numbers[:4]), "path": f"{index}.png"}


def test_one_generator_set_anew_is_as_good_as_a_new_one():
    """Nothing of a sample's numbers reaches the next one, whatever was drawn."""
    found = s.take(Leftover(7), 20, 3, seed=-5)
    for n, batch in enumerate(found):
        for i, path in enumerate(batch["path"]):
            item = Leftover(7).item(int(path.removesuffix(".png")), generator(-5, 3 * n + i))
            assert torch.equal(batch["chance"][i], item["chance"])
