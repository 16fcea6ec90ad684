"""Training extras of super-resolution: each switched on as users write it, with the effect that it must have."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from runs import GAN, ROOT, equal, make, native, photographs, python, train, weights, write

from darkroom.core.errors import OptionErrors
from darkroom.filters.frequency import SIDE, highpass, lowpass
from darkroom.filters.resize import resize
from darkroom.losses import adversarial

DOCUMENTED = """
name: t
model: sr
scale: 2
gpu_ids: []
datasets:
  train: {{mode: aligned, dataroot_HR: {hr}, crop_size: 32, batch_size: 2, n_workers: 0, use_flip: true}}
path: {{root: {root}}}
network_G: {{which_model_G: compact, nf: 8, num_conv: 2}}
network_D: {{which_model_D: discriminator_vgg, nf: 8, norm_type: none}}
train:
  niter: 4
  manual_seed: 3
  optim_G: sgd
  lr_G: 1e-2
  lr_D: 1e-3
  lr_scheme: MultiStepLR
  lr_steps: [1000]
  lr_gamma: 0.5
  pixel_criterion: l1
  pixel_weight: 1
  gan_type: vanilla
  gan_weight: 5e-3
logger: {{print_freq: 2, save_checkpoint_freq: 4}}
"""


def documented(root, section="train", **keys):
    """A small run in the users' language, with these keys in a section (``top`` is the top of the file)."""
    data = photographs(root / "HR") if not (root / "HR").exists() else root / "HR"
    tree = yaml.safe_load(DOCUMENTED.format(hr=data, root=root))
    (tree if section == "top" else tree[section]).update(keys)
    return write(root / "o.yml", tree)


def first_sample(run, step=0):
    """The sample of the first iteration, exactly as the loop makes it, and the batch before augmentation."""
    loop = run.loop
    torch.manual_seed(0)
    batch = loop.on_device(next(loop.data(0)))
    phase = loop.phases.at(step)
    return loop.model.sample(loop.augment(batch), phase.bind), batch


RANDOM = {
    "batch_augment": [{"type": t} for t in ("blend", "rgb", "mixup", "cutmix", "cutmixup")]
    + [{"type": "cutout", "alpha": 0.2}],
    "network_D": GAN["network_D"],
    "optim_D": GAN["optim_D"],
    "losses": [
        {"name": "pix-l1", "type": "l1"},
        {
            "name": "gan", "type": "gan", "weight": 5e-3, "form": "relativistic",
            "augment": ["color", "translation", "zoom", "flip", "rotate", "cutout", "transl_zoom", "offset", "shift"],
        },
    ],
}  # fmt: skip


def test_resuming_with_everything_random_ends_in_the_same_bits(tmp_path):
    whole = train(write(tmp_path / "o.yml", native(tmp_path, **RANDOM)))
    half = native(tmp_path, **RANDOM, name="half")
    train(write(tmp_path / "h.yml", half | {"train": {"iterations": 3}}))
    resumed = half | {"path": {"root": str(tmp_path), "resume_state": "auto"}}
    assert equal(whole, train(write(tmp_path / "h.yml", resumed)))
    plain = native(tmp_path, **{**RANDOM, "batch_augment": []}, name="plain")
    assert not equal(whole, train(write(tmp_path / "p.yml", plain)))


def test_row_31_mixup_changes_batches_and_keeps_their_shapes(tmp_path):
    run = make(documented(tmp_path, mixup=True, mixopts=["cutmix", "mixup"], mixprob=[1, 1], mixalpha=[0.7, 1.2]))
    s, batch = first_sample(run)
    run.close()
    assert s["target"].shape == batch["target"].shape
    assert s["input"].shape == batch["input"].shape
    assert not torch.equal(s["target"], batch["target"])
    options = yaml.safe_load((tmp_path / "experiments/t/native.yml").read_text())
    assert options["batch_augment"] == [
        {"share": 1.0, "type": "cutmix", "prob": 1.0, "alpha": 0.7},
        {"share": 1.0, "type": "mixup", "prob": 1.0, "alpha": 1.2},
    ]


def test_cutout_hides_pixels_of_output_and_target_from_the_losses(tmp_path):
    run = make(documented(tmp_path, mixup=True, mixopts=["cutout"], mixalpha=[0.5]))
    s, batch = first_sample(run)
    run.close()
    hidden = (s["keep"] == 0).expand_as(s["output"])
    assert 0.3 < hidden.float().mean() < 0.7
    assert (s["output"][hidden] == 0).all()
    assert (s["target"][hidden] == 0).all()
    assert torch.equal(s["target"][~hidden], batch["target"][~hidden])
    assert "keep" not in run.loop.model.sample(batch)


def test_row_32_diffaug_shows_the_critic_fake_and_real_alike(tmp_path):
    run = make(documented(tmp_path, diffaug=True, dapolicy="color,translation,cutout"))
    seen = []
    run.loop.model.D.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    batch = run.loop.on_device(next(run.loop.data(0)))
    run.loop.iterate([batch])
    run.close()
    fake_for_G, real_for_G, fake_for_D, real_for_D = seen
    assert not torch.equal(real_for_G, batch["target"])
    assert not torch.equal(real_for_D, real_for_G), "each turn draws anew"
    for real, fake in ((real_for_G, fake_for_G), (real_for_D, fake_for_D)):
        nothing = (real == 0).all(1) & (fake == 0).all(1)  # moved in from outside, or cut out, in both
        assert nothing.float().mean() > 0.2


def test_row_32_freezeD_keeps_the_first_layers(tmp_path):
    path = documented(tmp_path, freeze_loc=2)
    run = make(path)
    before = weights(run)
    run.train()
    after = weights(run)
    run.close()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert not [key for key in moved if key.startswith(("D.blocks.0.", "D.blocks.1."))]
    assert {"D.blocks.2.conv.weight", "D.head.linear2.weight", "G.body.0.weight"} <= moved


@pytest.mark.parametrize(
    ("network", "says"),
    [({"which_model_D": "discriminator_vgg", "nf": 8}, r"99 layers of network_D are to be frozen, but .* has 6"),
     ({"which_model_D": "pixelgan"}, "has no order of layers to count")],
)  # fmt: skip
def test_freezing_what_is_not_there(tmp_path, network, says):
    with pytest.raises(OptionErrors, match=says):
        make(documented(tmp_path, freeze_loc=99), "network_D=" + json.dumps(network))


@pytest.mark.parametrize("kind", ["average", "gaussian"])
def test_row_32_frequency_separation(tmp_path, kind):
    keys = {"fs": True, "lpf_type": kind, "hpf_type": kind, "feature_weight": 0}
    run = make(documented(tmp_path, **keys))
    s, _ = first_sample(run)
    pix, fool, judge = run.loop.terms
    assert torch.equal(pix(s).loss, (lowpass(s["output"], kind) - lowpass(s["target"], kind)).abs().mean())
    seen = []
    run.loop.model.D.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    fool(s)
    judge(s)
    run.close()
    assert torch.equal(seen[0], highpass(s["output"], kind))
    assert torch.equal(seen[1], highpass(s["target"], kind))
    assert [torch.equal(a, b) for a, b in zip(seen[2:], (seen[0], seen[1]), strict=True)] == [True, True]


@pytest.mark.parametrize("kind", ["average", "gaussian"])
def test_lowpass_is_the_weighted_mean_of_the_pixels_around(kind):
    image = torch.rand(2, 3, 12, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(14.0), indexing="ij")
    for y, x in ((0, 0), (5, 7), (11, 2)):
        near = ((rows - y).abs() <= SIDE // 2) & ((columns - x).abs() <= SIDE // 2)
        part = torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * (SIDE / 6) ** 2)) if kind == "gaussian" else 1.0
        part = (near * part).double()
        expected = (part * image).sum((2, 3)) / part.sum()
        assert torch.allclose(lowpass(image, kind)[:, :, y, x], expected, rtol=1e-6)
    flat = torch.full((1, 1, 20, 20), 0.3)
    assert torch.allclose(lowpass(flat, kind), flat)
    assert torch.allclose(highpass(flat, kind), torch.full_like(flat, 0.5))


def test_row_40_consistency_holds_in_training_and_for_test_py(tmp_path):
    path = documented(tmp_path, "top", use_cem=True)
    run = make(path)
    s, _ = first_sample(run)
    assert torch.allclose(resize(s["output"], 1 / 2), s["input"], atol=1e-5)
    assert not torch.allclose(run.loop.model.G(s["input"]), s["output"], atol=1e-3)
    run.train()
    run.close()
    test = {
        "name": "t", "model": "sr", "scale": 2, "gpu_ids": [], "use_cem": True, "cem_config": {"cem_kernel": "cubic"},
        "datasets": {"test_1": {"mode": "LR", "dataroot_LR": str(tmp_path / "HR")}},
        "path": {"root": str(tmp_path), "pretrain_model_G": str(tmp_path / "experiments/t/models/4_G.pth")},
        "network_G": {"which_model_G": "compact", "nf": 8, "num_conv": 2},
    }  # fmt: skip
    done = python("test.py", "-opt", write(tmp_path / "test.yml", test))
    assert done.returncode == 0, done.stderr
    results = sorted((tmp_path / "results/t/test_1").glob("*.png"))
    assert len(results) == 6
    for result in results:
        given = np.asarray(Image.open(tmp_path / "HR" / result.name), np.float32) / 255
        large = torch.from_numpy(np.asarray(Image.open(result), np.float32) / 255).permute(2, 0, 1)[None]
        reduced = resize(large, 1 / 2)[0].permute(1, 2, 0).numpy()
        inside = ((large > 0.02) & (large < 0.98)).all()  # what was clipped cannot be consistent
        assert np.abs(reduced - given).mean() < (2e-3 if inside else 8e-3)


def test_row_40_adatarget_starts_when_it_should_and_learns(tmp_path):
    path = documented(tmp_path, "top", use_atg=True, network_Loc={"p_size": 7, "s_size": 9})
    run = make(path, "train.atg_start_iter=2", "train.lr_G=0.5")
    assert [(p.start, dict(p.bind)) for p in run.loop.phases.phases] == [(0, {}), (2, {"fitted": "fitted_output"})]
    s, _ = first_sample(run)
    assert torch.allclose(s["fitted_output"], s["output"], atol=1e-5), "at first nothing is moved"
    start = weights(run)
    batches = run.loop.data(0)
    for _ in range(2):
        run.loop.iterate([run.loop.on_device(next(batches))])
    plain = weights(run)
    assert all(torch.equal(start[k], plain[k]) for k in start if k.startswith("Loc."))
    for _ in range(2):
        run.loop.iterate([run.loop.on_device(next(batches))])
    adapted = weights(run)
    learned = [k for k in start if k.startswith("Loc.") and not torch.equal(start[k], adapted[k])]
    assert any(k.endswith("weight") for k in learned)
    (gan,) = [t for t in run.loop.terms if t.name == "gan" and t.player == "G"]
    run.close()
    assert gan.inputs == {"fake": "output", "real": "target"}, "the critic judges what the network makes"


def test_row_35_feature_matching(tmp_path):
    keys = {"gan_featmaps": True, "dis_feature_criterion": "l2", "dis_feature_weight": 0.3}
    run = make(documented(tmp_path, **keys))
    s, _ = first_sample(run)
    _, fool, _ = run.loop.terms
    found = fool(s).loss
    D = run.loop.model.D
    (fake,), (real,) = D(s["output"]), D(s["target"])
    maps = [(f - r).square().mean() for f, r in zip(fake[:-1], real[:-1], strict=True)]
    plain = adversarial.GAN(form="relativistic").generator(lambda image: D(image)[0][-1], s["output"], s["target"])
    run.close()
    assert len(maps) == len(D.blocks)
    assert torch.allclose(found, 5e-3 * plain + 0.3 * torch.stack(maps).mean(), rtol=1e-5)


def test_feature_matching_needs_a_critic_with_maps(tmp_path):
    options = native(tmp_path, **GAN)
    options["losses"][1]["feature_weight"] = 1.0
    with pytest.raises(OptionErrors, match=r"o\.yml:\d+: feature_weight compares feature maps, which network_D"):
        make(write(tmp_path / "o.yml", options))


@pytest.mark.parametrize("form", ["standard", "relativistic"])
@pytest.mark.parametrize("mode", ["vanilla", "lsgan", "hinge", "wgan"])
def test_no_reward_beyond_real(mode, form):
    """A fake that is judged more real than the real image at the same place gives the generator nothing to gain."""
    real = torch.tensor([0.5, 0.5, 0.5])
    fake = torch.tensor([0.2, 0.9, 3.0], requires_grad=True)
    capped = adversarial.GAN(mode, form, cap_at_real=True)
    (gradient,) = torch.autograd.grad(capped.generator(lambda x: x, fake, real), fake)
    assert gradient[0] < 0
    assert (gradient[1:] == 0).all()
    (free,) = torch.autograd.grad(adversarial.GAN(mode, form).generator(lambda x: x, fake, real), fake)
    assert (free != 0).all() or mode == "lsgan"


def test_finalcap_bounds_the_output(tmp_path):
    run = make(documented(tmp_path, finalcap="clamp"), "network_G={which_model_G: esrgan, nf: 8, nb: 1}")
    run.close()
    G, image = run.loop.model.G, torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        for parameter in G.parameters():
            parameter.mul_(20)
        capped = G(image)
        G.outm = None
        free = G(image)
    assert (capped.min(), capped.max()) == (0, 1)
    assert free.max() > 1 > 0 > free.min()


def test_row_33_an_x4_network_trains_x2_through_unshuffling(tmp_path):
    path = documented(tmp_path, "top", use_unshuffle=True, unshuffle_scale=2)
    run = make(path, "network_G={which_model_G: esrgan, nf: 8, nb: 1}")
    run.train()
    run.close()
    saved = torch.load(tmp_path / "experiments/t/models/4_G.pth")
    assert run.loop.model.G(torch.rand(1, 3, 9, 7)).shape == (1, 3, 18, 14)
    assert next(iter(saved.values())).shape == (8, 12, 3, 3), "the file is that of an x4 network of 12 channels"


def test_who_plays_when_and_at_which_rate(tmp_path):
    run = make(documented(tmp_path, D_init_iters=2, D_update_ratio=2, niter=6))
    assert {name: player.rates(0) for name, player in run.loop.players.items()} == {"G": [1e-2], "D": [1e-3]}
    batches, moved = run.loop.data(0), []
    for _ in range(6):
        before = weights(run)
        run.loop.iterate([run.loop.on_device(next(batches))])
        moved.append("".join(sorted({k[0] for k, v in weights(run).items() if not torch.equal(before[k], v)})))
    run.close()
    assert moved == ["D", "D", "DG", "D", "DG", "D"]


def test_cap_at_real_in_an_option_file(tmp_path):
    run = make(documented(tmp_path, gan_opt={"form": "standard", "cap_at_real": True}))
    run.close()
    assert run.loop.terms[1].loss.cap_at_real


@pytest.mark.parametrize(
    ("keys", "says"),
    [({"mixup": True, "mixopts": ["mixup", "cutmux"]}, "mixopts: there is no 'cutmux'. Did you mean 'cutmix'"),
     ({"mixup": True, "mixopts": ["mixup"], "mixprob": [1, 1]}, "mixprob: expected 1 numbers, one for each of mixopts"),
     ({"mixup": True, "mixopts": ["cutblur"]}, "cutblur needs input and target of one size"),
     ({"diffaug": True, "dapolicy": "colour"}, "augment: .*colour"),
     ({"gan_opt": {"from": "standard"}}, "no option 'from' in gan_opt. Did you mean 'form'"),
     ({"fs": True, "lpf_type": "median"}, "median")],
)  # fmt: skip
def test_mistakes_are_told_before_anything_starts(tmp_path, keys, says):
    with pytest.raises(OptionErrors, match=says):
        make(documented(tmp_path, **keys))
    assert not (Path(tmp_path) / "experiments").exists()


PAGE = ROOT / "docs" / "extras.md"
EXAMPLES = re.findall(
    r"^## ([^\n]+)\n(?:(?!^## ).)*?^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example[0])
def test_examples_of_the_page_train(tmp_path, example):
    """Put into a file as they are, but for the path of a pretrained network."""
    tree = yaml.safe_load(DOCUMENTED.format(hr=photographs(tmp_path / "HR", size=96), root=tmp_path))
    tree["network_G"] = {"which_model_G": "esrgan", "nf": 8, "nb": 1}
    tree["network_D"]["size"] = 64
    tree["datasets"]["train"]["crop_size"] = 64
    for key, value in yaml.safe_load(example[1]).items():
        tree[key] = {**tree[key], **value} if isinstance(tree.get(key), dict) else value
    tree["path"].pop("pretrain_model_D", None)
    run = make(write(tmp_path / "o.yml", tree))
    before = weights(run)
    run.train()
    after = weights(run)
    run.close()
    assert all(value.isfinite().all() for value in after.values())
    assert any(key.startswith("G.") and not torch.equal(value, after[key]) for key, value in before.items())


def test_the_page_has_its_examples():
    assert len(EXAMPLES) == 9
