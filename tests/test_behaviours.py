"""What a user of this family of trainers would miss first: rows of the inventory of behaviours, one test each."""

import json
import math
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from runs import GAN, equal, make, native, train, weights, write


def with_val(root, **changes):
    options = native(root, **changes)
    options["datasets"]["val"] = {"type": "aligned", "target": options["datasets"]["train"]["target"], "limit": 2}
    return options


LINE = re.compile(
    r"\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} - INFO: <epoch: {1,2}\d+, iter: +[\d,]+, lr:\d\.\d{3}e-\d\d, t:\d+\.\d{4}s, "
    r"td:\d+\.\d{4}s, eta:\d+\.\d{4}h> pix-l1: \d\.\d{4}e-\d\d l_g_gan: \d\.\d{4}e-\d\d l_d_real: \d\.\d{4}e[-+]\d\d "
    r"l_d_fake: \d\.\d{4}e[-+]\d\d D_real: -?\d\.\d{4}e[-+]\d\d D_fake: -?\d\.\d{4}e[-+]\d\d "
)


def test_row_8_log_lines_and_files(tmp_path):
    validate = {"every": 3, "metrics": [{"type": "psnr"}, {"type": "ssim"}]}
    train(write(tmp_path / "o.yml", with_val(tmp_path, **GAN, validate=validate)))
    folder = tmp_path / "experiments/t"
    (log,), (val,) = folder.glob("train_*.log"), folder.glob("val_*.log")
    assert re.fullmatch(r"train_\d{6}-\d{6}\.log", log.name)
    lines = log.read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if LINE.fullmatch(line)]) == 3
    assert any(re.search(r"# Validation # PSNR: [\d.]+, SSIM: [\d.]+$", line) for line in lines)
    assert any("Models and training states saved at iter:       6." in line for line in lines)
    expected = r"<epoch: +\d+, iter: +\d+> # Validation # PSNR: [\d.]+, SSIM: [\d.]+$"
    assert sum(bool(re.search(expected, line)) for line in val.read_text(encoding="utf-8").splitlines()) == 2
    figures = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {"iter", "pix-l1", "lr/base", "time/iteration", "time/data"} <= figures[0].keys()
    assert [f["iter"] for f in figures if "psnr" in f] == [3, 6]


def test_row_8_the_logged_loss_is_the_mean_since_the_last_line(tmp_path):
    path = write(tmp_path / "o.yml", native(tmp_path, optim_G={"type": "sgd", "lr": 0.0}))
    run = make(path)
    stream = run.loop.data(0)
    G = run.loop.model.G
    batches = [run.loop.on_device(next(stream)) for _ in range(2)]
    expected = sum(float((G(b["input"]) - b["target"]).abs().mean().detach()) for b in batches) / 2
    run.train()
    run.close()
    first = (tmp_path / "experiments/t/metrics.jsonl").read_text().splitlines()[0]
    assert json.loads(first)["l1"] == pytest.approx(expected, rel=1e-5)


def test_printed_time_and_eta_are_true(tmp_path, monkeypatch):
    """Fault 9.1-9: t was the time between prints, eta print_freq times too large."""
    from darkroom.engine import chores, loop

    clock = iter(range(10**6))  # every reading of the clock is a second later
    for module in (chores, loop):
        monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(clock)))
    run = make(write(tmp_path / "o.yml", native(tmp_path, train={"iterations": 10}, checkpoint={"every": 100})))
    lines = []
    monkeypatch.setattr(run.log, "say", lines.append)
    run.train()
    run.close()
    told = [re.search(r"t:([\d.]+)s, td:([\d.]+)s, eta:([\d.]+)h", line) for line in lines if "eta" in line]
    # An iteration reads the clock three times (start, data, end), a line once more.
    assert [float(m[1]) for m in told] == [2.0] * 5
    assert [float(m[2]) for m in told] == [1.0] * 5
    remaining = [float(m[3]) * 3600 for m in told]
    assert remaining[-1] == 0
    assert all(a > b for a, b in pairwise(remaining))
    assert remaining[0] == pytest.approx(8 * 3.5, rel=0.2)


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ({}, {"photo0_3.png", "photo0_6.png"}),
        ({"overwrite": True}, {"photo0.png"}),
        ({"comparison": True}, {"photo0_3.png", "photo0_6.png"}),
        ({"overwrite": True, "comparison": True}, {"photo0.png"}),
        ({"overwrite": True, "save_gt": True, "save_lr": True}, {"photo0.png", "photo0_GT.png", "photo0_LQ.png"}),
        ({"save_images": False}, None),
    ],
)
def test_row_9_validation_images(tmp_path, options, files):
    """And fault 9.1-7: overwrite_val_imgs without val_comparison wrote nothing."""
    run_options = with_val(tmp_path, validate={"every": 3, **options})
    train(write(tmp_path / "o.yml", run_options))
    folder = tmp_path / "experiments/t/val_images"
    if files is None:
        assert not list(folder.rglob("*.png"))
        return
    assert {p.name for p in folder.iterdir()} == {"photo0", "photo1"}
    assert {p.name for p in (folder / "photo0").iterdir()} == files
    width = Image.open(next((folder / "photo0").glob("photo0*.png"))).width
    newest = Image.open(folder / "photo0" / ("photo0.png" if options.get("overwrite") else "photo0_6.png"))
    assert newest.size == ((144, 72) if options.get("comparison") else (72, 72)), width
    if options.get("save_gt"):
        target = Image.open(tmp_path / "HR" / "photo0.png")
        assert np.array_equal(np.asarray(Image.open(folder / "photo0/photo0_GT.png")), np.asarray(target))


def test_row_9_metrics_are_those_of_the_saved_images(tmp_path):
    """Averages over the images, right for one image, border of the scale left out."""
    metrics = [{"type": "psnr", "crop_border": 2}]
    for limit in (1, 2):
        options = with_val(tmp_path, validate={"every": 6, "metrics": metrics}, name=f"n{limit}")
        options["datasets"]["val"]["limit"] = limit
        train(write(tmp_path / "o.yml", options))
        folder = tmp_path / "experiments" / f"n{limit}"
        values = []
        for i in range(limit):
            a = np.asarray(Image.open(folder / f"val_images/photo{i}/photo{i}_6.png"), np.float64)[2:-2, 2:-2]
            b = np.asarray(Image.open(tmp_path / f"HR/photo{i}.png"), np.float64)[2:-2, 2:-2]
            values.append(10 * math.log10(255**2 / ((a - b) ** 2).mean()))
        last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
        assert last["psnr"] == pytest.approx(sum(values) / limit, abs=1e-6)


def test_validation_uses_the_average_and_leaves_training_alone(tmp_path):
    plain = with_val(tmp_path, ema={"decay": 0.5}, validate={"every": 1, "metrics": [{"type": "psnr"}]}, name="often")
    often = train(write(tmp_path / "a.yml", plain))
    seldom = train(write(tmp_path / "b.yml", {**plain, "validate": {"every": 6}, "name": "seldom"}))
    assert equal(often, seldom)
    run = make(write(tmp_path / "c.yml", {**plain, "name": "c"}))
    with torch.no_grad():
        for p in run.loop.averages[0].networks["G"].parameters():
            p.zero_()
    (batch,) = list(next(iter(run.validate.sets.values()))())[:1]
    blank = run.validate.judge(run.loop, run.loop.on_device(batch))["output"]
    nearest = run.loop.on_device(batch)["input"].repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(blank, nearest)  # a compact network of zeros adds nothing to the enlarged input
    run.close()


def test_row_16_amp_switch_and_its_state(tmp_path):
    from darkroom.engine.loop import Loop

    run = make(write(tmp_path / "o.yml", native(tmp_path)))
    assert not run.loop.scaler.is_enabled()
    half = Loop(run.loop.model, run.loop.players, run.loop.terms, run.loop.phases, run.loop.data, 1, amp=torch.float16)
    assert half.scaler.is_enabled()
    assert "scaler" in half.parts()
    assert half.parts()["scaler"].state_dict()["scale"] > 1
    run.close()


def test_row_18_tensorboard_tags(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = tmp_path / "tb_logger" / "t"
    logger = {"every": 2, "progress": False, "tensorboard_dir": str(board)}
    validate = {"every": 6, "metrics": [{"type": "psnr"}, {"type": "ssim"}]}
    train(write(tmp_path / "o.yml", with_val(tmp_path, **GAN, logger=logger, validate=validate)))
    events = EventAccumulator(str(board)).Reload()
    tags = events.Tags()
    losses = {"pix-l1", "l_g_gan", "l_d_real", "l_d_fake", "D_real", "D_fake"}
    assert losses | {"lr/base", "time/iteration", "time/data", "psnr", "ssim"} == {*tags["scalars"]}
    assert {*tags["images"]} == {"val/photo0", "val/photo1"}
    assert [e.step for e in events.Scalars("pix-l1")] == [2, 4, 6]


def test_row_20_an_earlier_run_is_archived(tmp_path):
    path = write(tmp_path / "o.yml", native(tmp_path))
    first = train(path)
    train(path, "seed=9")
    (kept,) = (tmp_path / "experiments").glob("t_archived_*")
    from darkroom.inference.weights import read_state

    assert equal({f"G.{k}": v for k, v in read_state(kept / "models/6_G.pth").items()}, first)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_row_22_scales(tmp_path, scale):
    data = {**native(tmp_path)["datasets"]["train"], "crop": 24}
    network = {"type": "esrgan", "nb": 1, "nf": 8, "gaussian": False}
    options = native(tmp_path, scale=scale, network_G=network, datasets={"train": data}, train={"iterations": 2})
    run = make(write(tmp_path / "o.yml", options))
    before = weights(run)
    run.train()
    run.close()
    assert not equal(before, weights(run))
    small = torch.rand(1, 3, 9, 7)
    assert run.loop.model.G(small).shape == (1, 3, 9 * scale, 7 * scale)


def test_fine_tuning_starts_from_the_weights_at_iteration_0(tmp_path):
    trained = train(write(tmp_path / "o.yml", native(tmp_path)))
    file = tmp_path / "experiments/t/models/6_G.pth"
    run = make(
        write(
            tmp_path / "f.yml", native(tmp_path, name="f", path={"root": str(tmp_path), "pretrain": {"G": str(file)}})
        )
    )
    assert equal(trained, weights(run))
    assert run.loop.step == 0
    run.close()


def test_mismatched_weights_are_listed_before_training(tmp_path):
    from darkroom.core.errors import WeightsError

    train(write(tmp_path / "o.yml", native(tmp_path)))
    path = {"root": str(tmp_path), "pretrain": {"G": str(tmp_path / "experiments/t/models/6_G.pth")}}
    other = native(tmp_path, name="f", path=path, network_G={"type": "compact", "nf": 12, "num_conv": 2})
    with pytest.raises(WeightsError) as error:
        make(write(tmp_path / "f.yml", other))
    assert "body.0.weight" in str(error.value)
    assert "(8, 3, 3, 3)" in str(error.value).replace("[", "(").replace("]", ")").replace("torch.Size", "")


def test_unreadable_images_are_named_once_and_listed_at_the_end(tmp_path, capsys):
    options = native(tmp_path, train={"iterations": 9})
    (tmp_path / "HR" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    train(write(tmp_path / "o.yml", options))
    out = capsys.readouterr().out
    assert len(re.findall("left out: .*broken.png", out)) == 1
    assert "1 files could not be used and were left out:" in out


def test_nothing_readable_is_an_error_before_training(tmp_path):
    from darkroom.core.errors import DarkroomError

    options = native(tmp_path)
    for path in Path(tmp_path / "HR").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DarkroomError):
        train(write(tmp_path / "o.yml", options))


def test_plateau_follows_the_metric_not_the_iteration(tmp_path):
    """Fault 9.1-15: it was stepped every iteration, starting with a metric of 0."""
    schedule = {"type": "plateau", "metric": "psnr", "mode": "max", "patience": 0, "factor": 0.5}
    optim = {"type": "sgd", "lr": 1e-30, "momentum": 0}
    options = with_val(tmp_path, schedule=schedule, optim_G=optim, validate={"every": 2, "metrics": [{"type": "psnr"}]})
    run = make(write(tmp_path / "o.yml", options))
    rates = []
    batches = run.loop.data(0)
    for step in range(1, 7):
        run.loop.iterate([run.loop.on_device(next(batches))])
        rates.append(run.loop.players["G"].optimizer.param_groups[0]["lr"] / 1e-30)
        if step % 2 == 0:
            run.validate(run.loop)
    run.close()
    assert rates == pytest.approx([1, 1, 1, 1, 0.5, 0.5])  # the second validation is no better than the first


def test_row_39_znorm(tmp_path):
    """Networks and losses see images in [-1, 1]; what is measured and written stays in [0, 1]."""
    tree = native(tmp_path)
    tree["model"] = {"type": "sr", "signed": True}
    tree["datasets"]["val"] = {"type": "aligned", "target": tree["datasets"]["train"]["target"], "limit": 1}
    tree["validate"] = {"every": 6, "metrics": [{"type": "psnr"}]}
    run = make(write(tmp_path / "o.yml", tree))
    batch = run.loop.on_device(next(run.loop.data(0)))
    sample = run.loop.model.sample(batch)
    with torch.no_grad():
        output = run.loop.model.G(batch["input"] * 2 - 1)
    torch.testing.assert_close(sample["output"].detach(), output)
    loss = run.loop.terms[0](sample).loss
    torch.testing.assert_close(loss, (output - (batch["target"] * 2 - 1)).abs().mean())
    shown = run.loop.model.shown(sample)["output"]
    torch.testing.assert_close(shown.detach(), (output + 1) / 2)
    run.close()
