"""Training SRFlow: what learns when, what is written, and that nothing of it is NaN."""

import dataclasses

import pytest
import torch
import yaml
from runs import equal, killed_after, make, photographs, python, train, weights, write

from darkroom.core.errors import OptionErrors

OPTIONS = """
name: s
model: srflow
scale: 4
gpu_ids: []
datasets:
  train: {{mode: aligned, dataroot_HR: {root}/HR, crop_size: 32, batch_size: 2, n_workers: 0, quant: 255}}
  val: {{mode: aligned, dataroot_HR: {root}/HR, max_dataset_size: 1}}
path: {{root: {root}}}
network_G:
  which_model_G: srflow_net
  nf: 8
  nb: 2
  gc: 4
  train_RRDB_delay: 0.5
  flow:
    K: 1
    L: 3
    hidden_channels: 8
    noInitialInj: true
    coupling: CondAffineSeparatedAndCond
    additionalFlowNoAffine: 2
    split: {{enable: true}}
    fea_up0: true
    stackRRDB: {{blocks: [0, 1], concat: true}}
    augmentation: {{noiseQuant: true}}
val: {{heats: [0.0, 0.9], n_sample: 2}}
train:
  niter: 6
  manual_seed: 1
  lr_G: 1e-3
  lr_filter_: 1e-4
  beta2_G: 0.99
  lr_scheme: MultiStepLR
  lr_steps: [5]
  lr_gamma: 0.5
  fl_weight: 1
  val_freq: 3
  metrics: psnr
logger: {{print_freq: 1, save_checkpoint_freq: 2}}
"""


def options(root, **train_options):
    photographs(root / "HR", 3, 64)
    tree = yaml.safe_load(OPTIONS.format(root=root))
    tree["train"] |= train_options
    return write(root / "o.yml", tree)


def test_the_documented_options_reach_the_network_and_the_method(tmp_path):
    run = make(options(tmp_path))
    run.close()
    flow, model = run.loop.model.G, run.loop.model
    assert (flow.scale, len(flow.levels), flow.blocks, flow.quant) == (4, 3, (0, 1), 255)
    assert (model.train_RRDB_delay, model.noise, model.heats, model.n_sample) == (0.5, True, (0.0, 0.9), 2)
    assert sorted(rate for rate in run.loop.players["G"].rates(0)) == [1e-4, 1e-3]


def test_validation_measures_the_likelihood_that_training_lowers(tmp_path):
    run = make(options(tmp_path))
    model, batch = run.loop.model, run.loop.on_device(next(run.loop.data(0)))
    one = {name: value[:1] for name, value in batch.items() if name in model.reads}
    with torch.no_grad():
        measured = model.figures(model.sample(one))["nll"]
        trained = torch.stack([model.sample(one)["nll"][0] for _ in range(8)])
        smooth = dataclasses.replace(model, noise=False).figures(model.sample(one))["nll"]
    run.close()
    assert float((trained - measured).abs().max()) < 0.1 < float((smooth - measured).abs())


def test_the_encoder_is_frozen_for_half_of_the_run(tmp_path):
    run = make(options(tmp_path))
    batches, loop = run.loop.data(0), run.loop
    seen = []
    for _ in range(6):
        before = weights(run)
        loop.iterate([loop.on_device(next(batches))])
        moved = {
            key.startswith("G.RRDB.") for key, value in weights(run).items() if not torch.equal(before[key], value)
        }
        figures = loop.meter.flush()
        assert figures["nll_dim"] == pytest.approx(figures["nll_loss"] / 3, rel=1e-5)
        seen.append((loop.phase.name, moved))
    run.close()
    assert seen[1:3] == [("flow", {False})] * 2
    assert seen[4:] == [("flow and encoder", {False, True})] * 2


@pytest.mark.parametrize(
    ("delay", "names"), [(0, ["flow and encoder"]), (1, ["flow"]), (0.34, ["flow", "flow and encoder"])]
)
def test_delays(tmp_path, delay, names):
    run = make(options(tmp_path, train_RRDB_delay=delay), "network_G.train_RRDB_delay=null")
    run.close()
    assert [phase.name for phase in run.loop.phases.phases] == names


def test_nll_falls_with_another_loss_and_without_nan_at_batch_size_1(tmp_path):
    settings = ["datasets.train.batch_size=1", "train.niter=40", "train.lr_G=2e-3", "train.val_freq=1000"]
    run = make(options(tmp_path, pixel_criterion="l1", pixel_weight=0.1), *settings)
    values = []
    batches = run.loop.data(0)
    for _ in range(40):
        run.loop.iterate([run.loop.on_device(next(batches))])
        values.append(run.loop.meter.flush())
    run.loop.guard.settle()
    run.close()
    assert run.loop.guard.skipped == 0
    first, last = (sum(v["nll_loss"] for v in part) / 8 for part in (values[:8], values[-8:]))
    assert last < first
    assert all(torch.isfinite(torch.tensor(list(v.values()))).all() for v in values)
    assert "pix-l1" in values[-1]


def test_validation_writes_samples_and_measures_the_likelihood(tmp_path, capsys):
    train(options(tmp_path))
    names = {file.name for file in (tmp_path / "experiments/s/val_images/photo0").iterdir()}
    kinds = ("", "_h0_0", "_h0_1", "_h0.9_0", "_h0.9_1")
    assert names == {f"photo0_{step}{kind}.png" for step in (3, 6) for kind in kinds}
    said = [line for line in capsys.readouterr().out.splitlines() if "# Validation #" in line]
    assert all(name in said[0] for name in ("PSNR: ", "NLL: ", "NLL_DIM: ", "LATENT_SCORE: "))
    images = {kind: (tmp_path / f"experiments/s/val_images/photo0/photo0_6{kind}.png").read_bytes() for kind in kinds}
    assert images[""] == images["_h0_0"] == images["_h0_1"]
    assert images["_h0.9_0"] != images["_h0.9_1"]


def test_samples_that_diverge_are_replaced_and_counted(tmp_path, capsys):
    run = make(options(tmp_path))
    with torch.no_grad():
        for parameter in run.loop.model.G.levels.parameters():
            parameter.mul_(1e-2)  # whose inverses are then large
    run.validate(run.loop)
    run.close()
    said = capsys.readouterr().out
    assert "samples diverged and were replaced by those of lower temperature" in said


def test_pretraining_from_an_esrgan_file(tmp_path):
    from darkroom.archs.rrdb import RRDBNet

    torch.manual_seed(5)
    source = RRDBNet(nf=8, nb=2, gc=4, scale=4)
    for layout in ("old", "new"):
        file = tmp_path / f"esrgan_{layout}.pth"
        torch.save(source.to_public(source.state_dict(), layout), file)
        path = options(tmp_path)
        run = make(path, f"path.pretrain_model_G={file}", "path.load_submodule=true", f"name={layout}")
        run.close()
        encoder = run.loop.model.G.RRDB.state_dict()
        assert equal(dict(source.state_dict()), dict(encoder))
    with pytest.raises(OptionErrors, match="load_submodule: belongs to model: srflow"):
        make(path, f"path.pretrain_model_G={file}", "path.load_submodule=true", "model=sr")


def test_killed_and_resumed_it_ends_in_the_same_bits(tmp_path):
    weights_of = {}
    for name in ("whole", "killed"):
        root = tmp_path / name
        root.mkdir()
        path = options(root)
        if name == "killed":
            often = ("--set", "logger.save_checkpoint_freq=1", "--set", "train.val_freq=50")
            killed_after(root / "experiments/s/training_state/2.state", "train.py", "-opt", path, *often)
        more = ("--set", "train.val_freq=50", "--set", "path.resume_state=auto")
        done = python("train.py", "-opt", path, *more)
        assert done.returncode == 0, done.stderr
        weights_of[name] = torch.load(root / "experiments/s/models/6_G.pth")
    assert equal(weights_of["whole"], weights_of["killed"])


def test_test_py_draws_at_temperatures(tmp_path):
    train(options(tmp_path))
    tree = yaml.safe_load(OPTIONS.format(root=tmp_path))
    test = {key: tree[key] for key in ("name", "model", "scale", "gpu_ids", "network_G", "val")} | {
        "seed": 7,
        "datasets": {"test_1": {"mode": "LR", "dataroot_LR": str(tmp_path / "HR")}},
        "path": {"root": str(tmp_path), "pretrain_model_G": str(tmp_path / "experiments/s/models/6_G.pth")},
    }
    test["network_G"].pop("train_RRDB_delay")
    results = tmp_path / "results/s/test_1"
    found = []
    for seed in (7, 7, 8):
        done = python("test.py", "-opt", write(tmp_path / "test.yml", test | {"seed": seed}))
        assert done.returncode == 0, done.stderr
        found.append({file.name: file.read_bytes() for file in results.iterdir()})
    assert len(found[0]) == 3 * 5
    assert found[0] == found[1]
    changed = {name for name in found[0] if found[0][name] != found[2][name]}
    assert changed == {f"photo{n}_h0.9_{k}.png" for n in range(3) for k in (0, 1)}


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"network_G": {"flow": {"coupling": "Affine"}}}, "coupling: here the flow is always made so"),
        ({"network_G": {"flow": {"KK": 1}}}, "there is no option 'KK' in section 'network_G.flow'. Did you mean 'K'"),
        ({"val": {"heat": 1}}, "there is no option 'heat' in section 'val'. Did you mean 'heats'"),
        ({"train": {"l1_weight": 1}}, "l1_weight: it never had an effect"),
    ],
)
def test_mistakes(tmp_path, keys, says):
    photographs(tmp_path / "HR", 3, 64)
    tree = yaml.safe_load(OPTIONS.format(root=tmp_path))
    for section, values in keys.items():
        for key, value in values.items():
            tree[section][key] = {**tree[section].get(key, {}), **value} if isinstance(value, dict) else value
    with pytest.raises(OptionErrors, match=says):
        make(write(tmp_path / "o.yml", tree))
