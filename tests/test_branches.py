"""Which state a run goes on from: branches that were left, runs that ended, starts that failed."""

import re

import pytest
import torch
from PIL import Image
from runs import make, native, photographs, python, train, write

from darkroom.core.errors import DataError
from darkroom.engine.checkpoint import newest
from darkroom.engine.experiment import NothingToDoError
from darkroom.engine.loop import Every, Loop


def stop_after(path, step, *settings):
    """Train until Ctrl-C would end it there."""
    run = make(path, *settings)
    run.loop.chores = [*run.loop.chores, Every(step, Loop.stop)]
    run.train()
    run.close()


def body(path):
    return torch.load(path, weights_only=True)["parts"]["network_G"]["body.0.weight"]


def names(folder):
    return {p.name for p in folder.iterdir()}


@pytest.fixture
def files(tmp_path):
    path = write(tmp_path / "o.yml", native(tmp_path, train={"iterations": 12}, checkpoint={"every": 2}))
    return path, tmp_path / "experiments/t/training_state", tmp_path / "experiments/t/models"


def test_auto_does_not_return_to_a_branch_that_was_left(files, capsys):
    """Ctrl-C at 7, back to 2 with another rate to 7: two states of iteration 7, one of them not to be continued."""
    path, states, models = files
    stop_after(path, 7)
    left = body(states / "latest.state")
    assert names(states) == {"2.state", "4.state", "6.state", "latest.state"}
    stop_after(path, 3, f"path.resume_state={states / '2.state'}", "optim_G.lr=0.01")
    assert "of the branch that is left, 3 states are kept as *.state.left" in capsys.readouterr().out
    assert names(states) == {"2.state", *(f"{n}.state.left" for n in (4, 6, "latest")), "latest.state"}
    assert {"latest_G.pth.left", "latest_G.pth", "6_G.pth"} < names(models)
    assert torch.equal(body(states / "latest.state.left"), left)
    stop_after(path, 7, "path.resume_state=auto", "optim_G.lr=0.01")
    _, state = newest(states, print)
    assert state["parts"]["loop"]["step"] == 7
    assert not torch.equal(state["parts"]["network_G"]["body.0.weight"], left)
    assert {p for p in names(models) if "left" in p} == {"latest_G.pth.left"}  # what was set aside stays so


@pytest.mark.parametrize("chosen", ["4.state", "previous.state"])
def test_states_beside_the_one_continued_from(files, chosen):
    """``latest`` of the same iteration is what ``auto`` would prefer: it is set aside; copies under a number stay."""
    path, states, models = files
    train(path, "train.iterations=4")
    for name in ("latest", "previous"):
        (states / f"{name}.state").write_bytes((states / "4.state").read_bytes())
        (models / f"{name}_G.pth").write_bytes(b"of another branch")
    run = make(path, f"path.resume_state={states / chosen}")
    run.close()
    assert {"2.state", "4.state", "latest.state.left"} < names(states)
    assert ("previous.state" in names(states)) == (chosen == "previous.state")
    found, _ = newest(states, print)
    assert found.name == chosen


def test_a_killed_start_leaves_the_state_that_it_goes_on_from(files, monkeypatch):
    """Whichever renaming is the last that is done, the chosen state is whole, and saying it again goes on from it."""
    path, states, _ = files
    stop_after(path, 9)
    before, two = len(names(states)), states / "2.state"
    from darkroom.engine import experiment

    aside = experiment._aside

    class Killed(BaseException):
        pass

    done = []

    def dying(target):
        if len(done) == limit:
            raise Killed
        done.append(target)
        aside(target)

    for limit in (1, 3):  # noqa: B007  (read by ``dying``)
        monkeypatch.setattr(experiment, "_aside", dying)
        with pytest.raises(Killed):
            make(path, f"path.resume_state={two}")
        assert two.exists()
        assert len(names(states)) == before
    monkeypatch.setattr(experiment, "_aside", aside)
    train(path, f"path.resume_state={two}", "train.iterations=4")
    found, _ = newest(states, print)
    assert found == states / "4.state"


def test_what_was_set_aside_before_stays(files):
    path, states, _ = files
    for _ in range(3):
        train(path, f"path.resume_state={states / '2.state'}" if states.exists() else "train.iterations=12")
    assert {"4.state", "4.state.left", "4.state.left2"} < names(states)


def test_a_finished_run_has_no_latest_of_an_earlier_iteration(files):
    """Finding 18: people took ``latest_G.pth`` of the interruption for the result."""
    path, states, models = files
    stop_after(path, 7)
    assert "latest_G.pth" in names(models)
    train(path, "path.resume_state=auto")
    assert "12.state" in names(states)
    assert not [*states.glob("latest*"), *states.glob("previous*"), *models.glob("latest*"), *models.glob("previous*")]


def test_a_run_that_has_ended_is_left_as_it_is(files, capsys):
    path, states, _ = files
    train(path)
    folder = states.parent
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")}
    for iterations in (12, 5):
        with pytest.raises(
            NothingToDoError, match=rf"already at iteration 12 of {iterations}: nothing to do.*train.niter"
        ):
            make(path, "path.resume_state=auto", f"train.iterations={iterations}")
    done = python("train.py", "-opt", path, "--set", "path.resume_state=auto")
    assert done.returncode == 0, done.stderr
    assert "already at iteration 12 of 12: nothing to do" in done.stdout
    assert not done.stderr
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")} == before


def small_inputs(root, count, wrong, scale=2):
    """Inputs of the photographs, ``wrong`` of them of another scale."""
    folder = root / "LR"
    folder.mkdir()
    for i, path in enumerate(sorted((root / "HR").iterdir())[:count]):
        side = 72 // (scale if i >= wrong else 4)
        Image.open(path).resize((side, side)).save(folder / path.name)
    return str(folder)


def test_a_start_that_fails_on_the_data_archives_nothing(files, tmp_path, capsys):
    path, states, _ = files
    train(path, "train.iterations=4")
    wrong = small_inputs(tmp_path, 6, wrong=6)
    with pytest.raises(DataError, match=r"dataset 'train': 6 of 6 pairs .* do not fit together at scale 2: .*scale"):
        make(path, f"datasets.train.input={wrong}")
    for image in (tmp_path / "HR").iterdir():
        image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(DataError, match="none of the 6 items of the dataset can be used"):
        make(path)
    assert [p.name for p in states.parent.parent.iterdir() if p.is_dir()] == ["t"]
    assert {"2.state", "4.state"} <= names(states)


def test_a_few_pairs_that_do_not_fit_are_left_out(tmp_path, capsys):
    options = native(tmp_path, train={"iterations": 9})
    photographs(tmp_path / "HR", 12)
    options["datasets"]["train"]["input"] = [small_inputs(tmp_path, 12, wrong=1)]
    train(write(tmp_path / "o.yml", options))
    out = capsys.readouterr().out
    assert re.search(r"left out: .*photo0.png: it is 18x18, but at scale 2 its target .* is the scale right", out)
    assert "cannot be read" not in out


def test_what_a_failed_start_left_is_used_again(files, capsys):
    path, states, _ = files
    run = make(path)
    run.close()
    (states.parent / "metrics.jsonl").write_text("{}")
    train(path)
    assert "archived" not in capsys.readouterr().out
    assert [p.name for p in states.parent.parent.iterdir() if p.is_dir()] == ["t"]
    assert "metrics.jsonl.left" in names(states.parent)


def test_auto_names_the_archived_run_that_it_does_not_continue(files, capsys):
    path, states, _ = files
    train(path, "train.iterations=4")
    make(path).close()  # anew: the earlier run is archived, and nothing is saved
    capsys.readouterr()
    make(path, "path.resume_state=auto").close()
    out = capsys.readouterr().out
    (kept,) = states.parent.parent.glob("t_archived_*")
    assert f"to continue it, set path.resume_state={kept / 'training_state' / '4.state'}" in out
    assert "WARNING" in out
    make(path, f"path.resume_state={kept / 'training_state' / '4.state'}").close()
    assert "Continuing" in capsys.readouterr().out
