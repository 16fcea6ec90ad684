import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import files
import numpy as np
import pytest
import torch

from darkroom.core.errors import DataError
from darkroom.data.aligned import Aligned
from darkroom.data.dataset import Group, UnreadableImage
from darkroom.data.images import write
from darkroom.data.single import Single
from darkroom.data.stream import Batches, draws, earlier, generator, order, prove, stream, to_unit, whole


class Numbers:
    """Items that hold their index and the first of their random numbers."""

    yields = ("target",)

    def __init__(self, length, broken=(), dtype=torch.uint8):
        self.length, self.broken, self.dtype = length, frozenset(broken), dtype

    def __len__(self):
        return self.length

    def item(self, index, rng):
        if index in self.broken:
            rng.random(index)  # how far a failing item got must not matter
            raise UnreadableImage(f"{index}.png", "it is broken")
        value = torch.full((1, 2, 2), index % 256, dtype=self.dtype)
        return {"target": value, "chance": torch.tensor(rng.random()), "path": f"{index}.png"}


class Groups(Numbers):
    """Items of three groups: 0 to 4, 5 to 15, 16 and 17."""

    groups = (Group(5, 2.0), Group(11, 5.0), Group(2, 0.5))
    mixed = False

    def __init__(self, broken=()):
        super().__init__(18, broken)


class Fatal(Numbers):
    def item(self, index, rng):
        raise DataError("the folder went away")


class Sizes(Numbers):
    def item(self, index, rng):
        return {"target": torch.zeros(1, 2, 2 + index % 2, dtype=torch.uint8), "path": f"{index}.png"}


class Suicidal(Numbers):
    def item(self, index, rng):
        if torch.utils.data.get_worker_info() is not None and index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().item(index, rng)


class Mixed(Numbers):
    """Every third file has 16 bits."""

    def item(self, index, rng):
        deep = index % 3 == 0
        value = torch.full((1, 2, 2), 51 * (257 if deep else 1), dtype=torch.int32)
        return {"target": value.to(torch.uint16 if deep else torch.uint8), "path": f"{index}.png"}


def take(dataset, count, batch_size, start=0, **options):
    data = stream(dataset, batch_size, options.pop("seed", 7), **options)
    batches = [b for b, _ in zip(data.batches(start), range(count), strict=False)]
    data.close()
    return batches


def samples(batches):
    return [
        (path, value, round(float(chance), 12))
        for b in batches
        for path, value, chance in zip(b["path"], b["target"][:, 0, 0, 0].tolist(), b["chance"], strict=True)
    ]


def test_an_epoch_is_a_permutation_of_its_own():
    orders = [tuple(order(3, epoch, 50)) for epoch in range(5)]
    assert all(sorted(o) == list(range(50)) for o in orders)
    assert len(set(orders)) == 5
    assert tuple(order(4, 0, 50)) != orders[0]
    assert tuple(order(-1, 0, 50)) == tuple(order(-1, 0, 50))


def test_random_numbers_belong_to_seed_and_draw():
    values = {(s, d): generator(s, d).random(3).tolist() for s in (0, 1, -5, 2**40) for d in (0, 1, 2, 10**9)}
    assert len({tuple(v) for v in values.values()}) == 16
    assert generator(1, 2).random(3).tolist() == values[1, 2]
    everything = np.concatenate([generator(0, d).random(8) for d in range(4000)])
    assert abs(everything.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(everything[:-8], everything[8:])[0, 1]) < 0.02


def test_draws_follow_the_epochs_across_their_boundaries():
    found = draws(5, 7, 0, 21)
    for epoch in range(3):
        assert [d.item for d in found[7 * epoch : 7 * epoch + 7]] == order(5, epoch, 7).tolist()
    assert [d.number for d in found] == list(range(21))
    assert draws(5, 7, 11, 4) == found[11:15]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 25])
def test_every_epoch_holds_every_item_once(batch_size):
    """Also with boundaries in the middle of a batch, and with batches that are larger than the dataset."""
    found = samples(take(Numbers(10), 40 // batch_size + 1, batch_size))
    for epoch in range(4):
        assert sorted(int(p.removesuffix(".png")) for p, _, _ in found[10 * epoch : 10 * epoch + 10]) == [*range(10)]
    assert len({chance for _, _, chance in found}) == len(found)
    assert all(value == int(path.removesuffix(".png")) for path, value, _ in found)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers):
    alone = samples(take(Numbers(10), 9, 4))
    assert samples(take(Numbers(10), 9, 4, workers=workers, prefetch=3)) == alone


@pytest.mark.parametrize("workers", [0, 2])
def test_a_restart_goes_on_where_it_was(workers):
    through = samples(take(Numbers(10), 12, 4))
    assert samples(take(Numbers(10), 5, 4, start=7, workers=workers)) == through[28:]
    data = stream(Numbers(10), 4, 7, workers=workers)
    first = data.batches(2)
    assert samples([next(first)]) == through[8:12]
    second = data.batches(6)
    assert samples([next(second), next(second)]) == through[24:32]
    with pytest.raises(RuntimeError, match="another position"):
        next(first)
    data.close()
    assert list(second) == []
    with pytest.raises(RuntimeError, match="closed"):
        data.batches(0)


def test_two_processes_share_the_draws_of_one():
    one = samples(take(Numbers(10), 6, 6))
    two = [samples(take(Numbers(10), 6, 3, rank=rank, world=2, workers=rank)) for rank in (0, 1)]
    together = [s for n in range(6) for rank in (0, 1) for s in two[rank][3 * n : 3 * n + 3]]
    assert together == one


def test_spawned_workers_do_the_same():
    alone = samples(take(Numbers(10), 4, 3))
    assert samples(take(Numbers(10), 4, 3, workers=1, context="spawn")) == alone


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_items_are_replaced_and_named_once(workers):
    said = []
    data = stream(Numbers(10, broken=(3, 4, 9)), 5, 7, workers=workers, warn=said.append)
    sound = samples(take(Numbers(10), 8, 5))
    batches = [b for b, _ in zip(data.batches(0), range(8), strict=False)]
    data.close()
    stands_for = {3: 5, 4: 5, 9: 0}
    for (path, _, chance), (wanted, _, expected) in zip(samples(batches), sound, strict=True):
        index = int(wanted.removesuffix(".png"))
        assert path == f"{stands_for.get(index, index)}.png"
        assert chance == expected
    assert data.broken == {f"{n}.png": "it is broken" for n in (3, 4, 9)}
    assert sorted(said) == [f"left out: {n}.png: it is broken" for n in (3, 4, 9)]
    assert sum(("3.png", "it is broken") in b["unreadable"] for b in batches) == 4


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_readable_is_an_error(workers):
    data = stream(Numbers(4, broken=range(4)), 2, 0, workers=workers)
    with pytest.raises(DataError, match=r"none of the 4 items.*it is broken.*and 1 more") as caught:
        next(data.batches(0))
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_of_the_user_cross_the_processes_unchanged(workers):
    with pytest.raises(DataError, match=r"^the folder went away$"):
        take(Fatal(4), 1, 2, workers=workers)
    with pytest.raises(DataError, match=r"differ in size.*batch_size: 1"):
        take(Sizes(4), 1, 4, workers=workers)


def test_a_worker_that_dies_is_explained():
    with pytest.raises(DataError, match="fewer workers"):
        take(Suicidal(10), 10, 4, workers=2)


def test_an_empty_dataset_and_wrong_numbers_are_refused():
    with pytest.raises(DataError, match="no items"):
        stream(Numbers(0), 2, 0)
    for options in ({"batch_size": 0}, {"workers": -1}, {"prefetch": 0}, {"rank": 2, "world": 2}):
        with pytest.raises(ValueError, match=r"expected .* found"):
            stream(Numbers(3), **{"batch_size": 2, "seed": 0, **options})


def test_batches_stay_in_8_bits_unless_a_file_has_16():
    for batch in take(Mixed(9), 12, 2):
        deep = any(int(p.removesuffix(".png")) % 3 == 0 for p in batch["path"])
        assert batch["target"].dtype == (torch.float32 if deep else torch.uint8)
        image = to_unit(batch)["target"]
        assert image.dtype == torch.float32
        torch.testing.assert_close(image, torch.full((2, 1, 2, 2), 0.2))


def test_to_unit_changes_images_only():
    batch = {"a": torch.tensor([0, 51, 255], dtype=torch.uint8), "b": torch.tensor([2.0]), "n": torch.tensor([3])}
    unit = to_unit({**batch, "path": ["x"]})
    assert unit["a"].tolist() == [0.0, pytest.approx(0.2), 1.0]
    assert batch["a"].tolist() == [0, 51, 255]
    assert unit["b"] is batch["b"]
    assert unit["n"].dtype == torch.int64
    assert unit["path"] == ["x"]


@pytest.mark.parametrize("workers", [0, 2])
def test_whole_goes_through_in_order(workers):
    broken = {}
    found = list(whole(Numbers(7, broken=(2,)), workers=workers, broken=broken))
    assert [b["index"] for b in found] == [[0], [1], [3], [4], [5], [6]]
    assert [b["path"] for b in found] == [[f"{n}.png"] for n in (0, 1, 3, 4, 5, 6)]
    assert all(b["target"].shape == (1, 1, 2, 2) for b in found)
    assert broken == {"2.png": "it is broken"}


@pytest.mark.parametrize(("length", "world"), [(7, 2), (7, 3), (2, 3), (6, 2)])
def test_whole_is_shared_without_overlap(length, world):
    parts = [[b["index"][0] for b in whole(Numbers(length), rank, world)] for rank in range(world)]
    assert sorted(i for part in parts for i in part) == list(range(length))
    assert all(part == sorted(part) for part in parts)
    alone = {b["index"][0]: float(b["chance"]) for b in whole(Numbers(length))}
    shared = {b["index"][0]: float(b["chance"]) for rank in range(world) for b in whole(Numbers(length), rank, world)}
    assert shared == alone


# datasets of several groups, of which a batch has one


def members(batches):
    """The items of each batch."""
    return [[int(path.removesuffix(".png")) for path in batch["path"]] for batch in batches]


def group_of(items):
    (group,) = {(item >= 5) + (item >= 16) for item in items}
    return group


def permutation(seed, epoch, length):
    return np.random.Generator(np.random.Philox(key=np.array([seed, 2**63 + epoch], np.uint64))).permutation(length)


def test_a_dataset_of_one_group_is_drawn_as_ever():
    for rank, world, start in ((0, 1, 0), (1, 3, 0), (2, 3, 40)):
        sampler = Batches([Group(10, 3.0)], 4, 7, rank, world)
        sampler.start = start
        for n, batch in zip(range(start, start + 9), sampler, strict=False):
            numbers = range((n * world + rank) * 4, (n * world + rank) * 4 + 4)
            assert batch == [(permutation(7, d // 10, 10)[d % 10], d) for d in numbers]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_batch_has_one_group_and_an_epoch_of_it_every_item_once(batch_size):
    found = members(take(Groups(), 150, batch_size))
    drawn = {group: [n for items in found if group_of(items) == group for n in items] for group in range(3)}
    for group, (first, length) in enumerate(((0, 5), (5, 11), (16, 2))):
        epochs = [drawn[group][n : n + length] for n in range(0, len(drawn[group]) - length + 1, length)]
        assert len(epochs) > 2
        assert all(sorted(epoch) == [*range(first, first + length)] for epoch in epochs)
        assert length < 3 or len({tuple(epoch) for epoch in epochs}) > len(epochs) // 2


def test_random_numbers_of_grouped_items_are_their_own():
    found = [float(chance) for batch in take(Groups(), 60, 4) for chance in batch["chance"]]
    assert found == [float(np.float32(generator(7, d).random())) for d in range(240)]


def test_groups_are_taken_by_their_shares():
    """Hoeffding: of n choices, a share is off by more than e with a chance below 2 exp(-2 n e^2)."""
    count, shares = 200_000, (2.0, 5.0, 0.5)
    bound = (np.log(2 / 1e-9) / 2 / count) ** 0.5
    for seed in (0, 7, -3):
        found = np.array(earlier(seed, count, shares))
        assert found.sum() == count
        assert np.abs(found / count - np.array(shares) / 7.5).max() < bound
    assert earlier(0, count, shares) != earlier(7, count, shares)
    assert earlier(3, 70_000, (1.0, 4.0)) == earlier(3, 70_000, (0.2, 0.8))


def test_earlier_batches_are_counted_as_they_were_drawn():
    """Also across the blocks in which choices are made."""
    shares = tuple(group.share for group in Groups.groups)
    for start, count in ((0, 300), (2**16 - 40, 80), (1_000_000, 20)):
        sampler = Batches(Groups.groups, 2, 7, 0, 1)
        sampler.start = start
        counts = earlier(7, start, shares)
        for n, batch in zip(range(start, start + count), sampler, strict=False):
            assert earlier(7, n, shares) == counts
            group = group_of([draw.item for draw in batch])
            places = [2 * counts[group], 2 * counts[group] + 1]
            first, length = ((0, 5), (5, 11), (16, 2))[group]
            expected = [first + order(7, d // length, length, group)[d % length] for d in places]
            assert [draw.item for draw in batch] == expected
            assert [draw.number for draw in batch] == [2 * n, 2 * n + 1]
            counts[group] += 1


@pytest.mark.parametrize("workers", [0, 2])
def test_grouped_batches_go_on_where_they_were(workers):
    through = samples(take(Groups(), 30, 4))
    assert samples(take(Groups(), 30, 4, workers=workers)) == through
    assert samples(take(Groups(), 12, 4, start=18, workers=workers)) == through[72:]


def test_processes_take_the_same_group_and_share_its_draws():
    one = take(Groups(), 20, 6)
    two = [take(Groups(), 20, 3, rank=rank, world=2) for rank in (0, 1)]
    assert samples(one) == [s for pair in zip(*two, strict=True) for s in samples(pair)]
    assert len({group_of(items) for items in members(one)}) == 3


def test_a_broken_item_is_replaced_by_one_of_its_group():
    sound, found = (members(take(Groups(broken), 80, 3)) for broken in ((), (4, 15, 16)))
    stands_for = {4: 0, 15: 5, 16: 17}
    assert found == [[stands_for.get(item, item) for item in items] for items in sound]
    assert prove(Groups(), 7)["path"] == [f"{order(7, 0, 5)[0]}.png"]
    with pytest.raises(DataError, match="none of the 2 items"):
        prove(Groups(broken=(16, 17)), 7)


def folder(path, count=12):
    path.mkdir()
    for n in range(count):
        write(path / f"{n}.png", files.photograph(40 + n, 48, n))
    return str(path)


def test_real_files_with_and_without_workers(tmp_path):
    root = folder(tmp_path / "HR")
    (tmp_path / "HR" / "5.png").write_bytes((tmp_path / "HR" / "5.png").read_bytes()[:700])
    (tmp_path / "HR" / "12.png").write_bytes(b"")
    write(tmp_path / "HR" / "13.png", files.photograph16(50, 50))
    dataset = Aligned(root, crop=32, flip=True, rotate=True)
    runs = [take(dataset, 9, 4, workers=workers) for workers in (0, 2)]
    for a, b in zip(*runs, strict=True):
        assert a["path"] == b["path"]
        assert a["unreadable"] == b["unreadable"]
        assert torch.equal(a["input"], b["input"])
        assert torch.equal(a["target"], b["target"])
        assert a["input"].shape == (4, 3, 8, 8)
    named = {Path(path).name for batch in runs[0] for path, _ in batch["unreadable"]}
    assert named == {"5.png", "12.png"}
    assert {batch["target"].dtype for batch in runs[0]} == {torch.uint8, torch.float32}


def test_a_folder_without_a_readable_file_is_an_error(tmp_path):
    for n in range(3):
        (tmp_path / f"{n}.png").write_bytes(b"words")
    with pytest.raises(DataError, match=r"none of the 3 items.*not an image"):
        take(Aligned(str(tmp_path), crop=8), 1, 2)
    broken = {}
    assert list(whole(Single(str(tmp_path)), broken=broken)) == []
    assert len(broken) == 3


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pids, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(alive(p) for p in pids):
        time.sleep(0.1)
    return not any(alive(p) for p in pids)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


@needs_proc
def test_close_ends_the_workers():
    def workers_of(pid):
        return {int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()}

    before = workers_of(os.getpid())
    data = stream(Numbers(10), 4, 7, workers=2)
    batches = data.batches(0)
    next(batches)
    started = workers_of(os.getpid()) - before
    assert len(started) == 2
    data.close()
    assert gone(started, 20)


MAIN = """
import os, sys, time
sys.path[:0] = {paths!r}
from test_stream import Numbers
from darkroom.data.stream import stream
if __name__ == "__main__":
    data = stream(Numbers(10), 4, 7, workers=2)
    for n, batch in enumerate(data.batches(0)):
        if n == 2:
            pid = os.getpid()
            print(open(f"/proc/{{pid}}/task/{{pid}}/children").read(), flush=True)
            time.sleep(0.01)
"""


@needs_proc
def test_workers_leave_ctrl_c_to_the_main_process_and_end_with_it(tmp_path):
    script = tmp_path / "main.py"
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "codes")]
    script.write_text(textwrap.dedent(MAIN.format(paths=paths)), encoding="utf-8")
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    children = [int(p) for p in process.stdout.readline().split()]
    assert len(children) == 2
    for child in children:
        os.kill(child, signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    assert all(alive(child) for child in children)
    process.kill()
    process.wait(30)
    process.stdout.close()
    assert gone(children, 30)
