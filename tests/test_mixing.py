"""Datasets of several folders of which more or less is taken, and the draws of their samples."""

import re
from collections import Counter

import files
import numpy as np
import pytest

from darkroom.config.typed import convert
from darkroom.data.aligned import Aligned
from darkroom.data.dataset import Group
from darkroom.data.images import write
from darkroom.data.mixing import Folder
from darkroom.data.stream import Batches, chosen, earlier, order, stream

GROUPS = (Group(5, 2.0), Group(11, 5.0), Group(2, 0.5))
FIRSTS = (0, 5, 16)
SHARES = tuple(group.share for group in GROUPS)


def group_of(item):
    return (item >= 5) + (item >= 16)


def take(count, batch_size, rank=0, world=1, start=0, mixed=True, groups=GROUPS, seed=7):
    sampler = Batches(groups, batch_size, seed, rank, world, mixed)
    sampler.start = start
    return [batch for batch, _ in zip(sampler, range(count), strict=False)]


def test_a_sample_is_a_function_of_seed_and_number():
    """Group by its share, and of that group the next item of its own order; counted from the first sample."""
    found = [draw for batch in take(100, 4) for draw in batch]
    counts = [0, 0, 0]
    for number, draw in enumerate(found):
        group = int(chosen(7, number, 1, SHARES)[0])
        epoch, place = divmod(counts[group], GROUPS[group].length)
        assert draw == (FIRSTS[group] + order(7, epoch, GROUPS[group].length, group)[place], number)
        counts[group] += 1
    assert len({group_of(draw.item) for draw in found[:8]}) > 1


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_processes_share_the_samples_and_none_comes_twice_in_an_epoch_of_its_folder(world, batch_size):
    count = 240 // (world * batch_size)
    parts = [take(count, batch_size, rank, world) for rank in range(world)]
    together = [draw for batches in zip(*parts, strict=True) for batch in batches for draw in batch]
    assert together == [draw for batch in take(240, 1) for draw in batch]
    for group, (length, _) in enumerate(GROUPS):
        items = [draw.item for draw in together if group_of(draw.item) == group]
        epochs = [items[n : n + length] for n in range(0, len(items) - length + 1, length)]
        assert len(epochs) > 2
        assert all(sorted(epoch) == [*range(FIRSTS[group], FIRSTS[group] + length)] for epoch in epochs)


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("start", [0, 9, 2**16 // 6 - 3, 40_000])
def test_a_restart_goes_on_where_it_was(mixed, start):
    """Also across the blocks in which choices are made."""
    counts = earlier(7, start * 6 if mixed else start, SHARES)
    found = take(20, 3, 1, 2, start, mixed)
    assert found[8:] == take(12, 3, 1, 2, start + 8, mixed)
    counts = [c * (1 if mixed else 6) for c in counts]
    both = zip(take(20, 3, 0, 2, start, mixed), found, strict=True)
    for draw in (draw for batches in both for batch in batches for draw in batch):
        group = group_of(draw.item)
        epoch, place = divmod(counts[group], GROUPS[group].length)
        assert draw.item == FIRSTS[group] + order(7, epoch, GROUPS[group].length, group)[place]
        counts[group] += 1


def test_samples_are_taken_by_their_shares():
    found = Counter(group_of(draw.item) for batch in take(500, 16) for draw in batch)
    for group, share in enumerate(SHARES):
        assert abs(found[group] / 8000 - share / 7.5) < 0.02


def test_many_groups_keep_their_orders(monkeypatch):
    """However many folders there are, no permutation is made twice."""
    made = Counter()

    def counting(seed, epoch, length, group=0):
        made[epoch, group] += 1
        return np.random.default_rng([seed, epoch, group]).permutation(length)

    monkeypatch.setattr("darkroom.data.stream.order", counting)
    for mixed in (True, False):
        made.clear()
        take(200, 8, groups=[Group(7, 1.0)] * 30, mixed=mixed)
        assert max(made.values()) == 1


# folders


@pytest.fixture
def folders(tmp_path):
    for n, (name, count) in enumerate((("a", 3), ("b", 6), ("c", 2))):
        (tmp_path / name).mkdir()
        for image in range(count):
            write(tmp_path / name / f"{image}.png", files.photograph(40, 40, 10 * n + image))
    return [str(tmp_path / name) for name in "abc"]


def names(batches):
    return [[path.replace("\\", "/").split("/")[-2] for path in batch["path"]] for batch in batches]


def run(dataset, count, batch_size, **options):
    data = stream(dataset, batch_size, 3, **options)
    batches = [batch for batch, _ in zip(data.batches(), range(count), strict=False)]
    data.close()
    return batches


def test_wrong_keys_of_a_folder_are_named():
    for given, said in (
        ({"path": "a", "wieght": 2}, "[0][wieght]: expected no such key"),
        ({"weight": 2}, "[0][path]: expected this key"),
        ({"path": "a", "weight": 0}, "expected more than 0, found 0 for a"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            convert([given], str | tuple[str | Folder, ...])


def test_weights_of_folders(folders):
    a, b, c = folders
    dataset = Aligned((Folder(a, 3.0), b, Folder(c)), crop=32)
    assert dataset.groups == ((3, 3.0), (6, 1.0), (2, 1.0))
    found = names(run(dataset, 60, 5))
    counts = Counter(name for batch in found for name in batch)
    assert abs(counts["a"] / 300 - 0.6) < 0.1
    assert any(len({*batch}) > 1 for batch in found)
    known = zip((60, 20, 20), folders, (3, 6, 2), strict=True)
    assert dataset.notes == tuple(f"{share}% of the samples: {path}, {count} images" for share, path, count in known)
    plain = Aligned((a, b, c), crop=32)
    assert plain.groups == ((11, 1.0),)
    assert plain.notes == ()


def test_batches_from_one_folder(folders):
    a, b, c = folders
    weighted = Aligned((Folder(a, 8.0), b, c), crop=32, batches_from="one")
    found = names(run(weighted, 80, 3))
    assert all(len({*batch}) == 1 for batch in found)
    counts = Counter(batch[0] for batch in found)
    assert counts["a"] > 45
    assert {*counts} == {"a", "b", "c"}
    alike = Counter(batch[0] for batch in names(run(Aligned((a, b, c), crop=32, batches_from="one"), 80, 3)))
    assert min(alike.values()) > 12
    assert "80% of the batches" in weighted.notes[0]


def test_a_folder_within_another_has_its_own_weight(folders, tmp_path):
    (tmp_path / "a" / "deep").mkdir()
    write(tmp_path / "a" / "deep" / "9.png", files.photograph(40, 40, 99))
    deep = str(tmp_path / "a" / "deep")
    dataset = Aligned((Folder(deep, 2.0), folders[0], folders[1]))
    assert dataset.groups == ((1, 2.0), (3, 1.0), (6, 1.0))


def test_workers_change_nothing_about_mixed_folders(folders):
    a, b, c = folders
    dataset = Aligned((Folder(a, 3.0), b, c), crop=32, flip=True, rotate=True)
    alone, helped = run(dataset, 8, 4), run(dataset, 8, 4, workers=2)
    for one, two in zip(alone, helped, strict=True):
        assert one["path"] == two["path"]
        assert (one["input"] == two["input"]).all()


def test_a_weight_is_more_than_nothing():
    for weight in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="more than 0"):
            Folder("a", weight)
