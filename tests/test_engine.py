"""The training step against loops written by hand, and what must never move."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from runs import GAN, equal, make, native, save_backbone, train, weights, write
from torch.nn import functional as F

from darkroom.core.terms import LOSSES

SGD = {"optim_G": {"type": "sgd", "momentum": 0, "lr": 0.1}, "optim_D": {"type": "sgd", "momentum": 0, "lr": 0.1}}
STANDARD = [*GAN["losses"][:1], {"name": "gan", "type": "gan", "weight": 5e-3, "form": "standard"}]


def gan_options(root, **changes):
    return native(root, **{**GAN, **SGD, **changes})


def batches(run, count):
    stream = run.loop.data(0)
    return [run.loop.on_device(next(stream)) for _ in range(count)]


def close(module, expected, **tolerance):
    for a, b in zip(module.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a, b, **({"rtol": 1e-5, "atol": 1e-7} | tolerance))


def test_relativistic_gan_step_equals_the_loop_written_by_hand(tmp_path):
    """ESRGAN's alternating step; SGD, as Adam would hide a wrong scale."""
    schedule = {"type": "multistep", "milestones": [2, 4], "gamma": 0.5}
    run = make(write(tmp_path / "o.yml", gan_options(tmp_path, schedule=schedule)))
    G, D = copy.deepcopy(run.loop.model.G).train(), copy.deepcopy(run.loop.model.D).train()
    og, od = torch.optim.SGD(G.parameters(), 0.1), torch.optim.SGD(D.parameters(), 0.1)
    bce = F.binary_cross_entropy_with_logits
    for i, b in enumerate(batches(run, 6)):
        for o in (og, od):
            o.param_groups[0]["lr"] = 0.1 * 0.5 ** sum(i >= m for m in (2, 4))
        fake = G(b["input"])
        r, f = D(b["target"]).detach(), D(fake)
        gan = (bce(r - f.mean(), torch.zeros_like(r)) + bce(f - r.mean(), torch.ones_like(f))) / 2
        og.zero_grad()
        (1e-2 * (fake - b["target"]).abs().mean() + 5e-3 * gan).backward()
        og.step()
        od.zero_grad()
        r, f = D(b["target"]), D(fake.detach())
        ((bce(r - f.mean(), torch.ones_like(r)) + bce(f - r.mean(), torch.zeros_like(f))) / 2).backward()
        od.step()
    run.train()
    run.close()
    close(run.loop.model.G, G)
    close(run.loop.model.D, D)


def test_virtual_batch_equals_the_big_batch_with_gan(tmp_path):
    """Fault 9.1-1 of the family: only one micro-batch in k reached G. Standard form: no mean over the batch."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    data = native(tmp_path)["datasets"]["train"]
    big = gan_options(
        tmp_path, losses=STANDARD, datasets={"train": {**data, "batch_size": 6}}, path={"root": str(tmp_path / "a")}
    )
    small = gan_options(
        tmp_path, losses=STANDARD, train={"iterations": 6, "accumulate": 3}, path={"root": str(tmp_path / "b")}
    )
    a, b = train(write(tmp_path / "a.yml", big)), train(write(tmp_path / "b.yml", small))
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_one_forward_of_the_generator_per_micro_batch(tmp_path, accumulate):
    run = make(write(tmp_path / "o.yml", gan_options(tmp_path, train={"iterations": 2, "accumulate": accumulate})))
    calls = []
    run.loop.model.G.register_forward_hook(lambda *_: calls.append(1))
    run.train()
    run.close()
    assert len(calls) == 2 * accumulate


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """torch's cache with files of random weights in the layout of torchvision's VGG11, VGG16 and VGG19."""
    from darkroom.archs.vgg import VGGFeatures

    home = tmp_path_factory.mktemp("torch")
    (home / "hub" / "checkpoints").mkdir(parents=True)
    for network, layer in (("vgg11", "conv2_1"), ("vgg16", "conv5_3"), ("vgg19", "conv4_2")):
        features = VGGFeatures(network, layers=(layer,))
        save_backbone(features, home / "hub" / "checkpoints" / features.file)
    return home


MODES = ("vanilla", "lsgan", "hinge", "wgan", "wgan-gp")
ADVERSARIAL = [{"type": "gan", "mode": m, "form": f} for m in MODES for f in ("standard", "relativistic")]
OTHERS = {"acd", "nll", "judged", "fooled", "feature_matching", "masked_l1"}
"""Losses of other models."""
LOSS_NAMES = sorted({*LOSSES} - {"gan"} - OTHERS)


def test_losses_were_found():
    assert len(LOSS_NAMES) >= 13


@pytest.mark.parametrize("loss", [*({"type": n} for n in LOSS_NAMES), *ADVERSARIAL], ids=lambda d: "-".join(d.values()))
def test_every_loss_alone_moves_g(tmp_path, hub, monkeypatch, loss):
    monkeypatch.setenv("TORCH_HOME", str(hub))
    more = {"network": "vgg11", "layers": {"conv2_1": 1.0}}
    options = gan_options(tmp_path, losses=[{**loss, **(more if loss["type"] in ("perceptual", "feature") else {})}])
    if loss["type"] != "gan":
        del options["network_D"], options["optim_D"]
    options["train"] = {"iterations": 2}
    run = make(write(tmp_path / "o.yml", options))
    before = weights(run)
    run.train()
    run.close()
    after = weights(run)
    assert all(v.isfinite().all() for v in after.values())
    moving = [k for k in before if k.endswith("weight") and (k[0] == "G" or "classifier" not in k)]
    assert all(not torch.equal(before[k], after[k]) for k in moving)


def test_no_discriminator_step_moves_g(tmp_path):
    phases = [{"name": "D alone", "players": ["D"]}]
    run = make(write(tmp_path / "o.yml", gan_options(tmp_path, phases=phases)))
    before = weights(run)
    run.train()
    run.close()
    after = weights(run)
    assert equal({k: v for k, v in before.items() if k[0] == "G"}, {k: v for k, v in after.items() if k[0] == "G"})
    assert not equal({k: v for k, v in before.items() if k[0] == "D"}, {k: v for k, v in after.items() if k[0] == "D"})


def test_no_generator_step_moves_d(tmp_path):
    run = make(write(tmp_path / "o.yml", gan_options(tmp_path, phases=[{"players": ["G"]}])))
    before = weights(run)
    run.train()
    run.close()
    assert all(torch.equal(v, weights(run)[k]) for k, v in before.items() if k[0] == "D")


def test_a_phase_trains_its_modules_only(tmp_path):
    phases = [{"name": "tail", "trains": ["G.body.0"]}, {"name": "all", "start": 0.5}]
    run = make(write(tmp_path / "o.yml", native(tmp_path, phases=phases)))
    w0 = weights(run)
    run.loop.steps = 3
    run.loop.run()
    w1 = weights(run)
    moved = {k for k in w0 if not torch.equal(w0[k], w1[k])}
    assert moved == {"G.body.0.weight", "G.body.0.bias"}
    run.loop.steps = 6
    run.loop.run()
    run.close()
    assert len({k for k in w0 if not torch.equal(w1[k], weights(run)[k])}) > 2


def test_schedules_advance_once_per_iteration_whatever_the_cadence(tmp_path):
    """Fault of the family: D_update_ratio slowed every schedule down."""
    schedule = {"type": "multistep", "milestones": [3], "gamma": 0.1}
    optim = {"type": "sgd", "momentum": 0, "lr": 0.1, "every": 3}
    run = make(write(tmp_path / "o.yml", gan_options(tmp_path, optim_G=optim, schedule=schedule)))
    rates = []
    for _ in range(6):
        run.loop.steps = run.loop.step + 1
        run.loop.run()
        rates.append({n: p.optimizer.param_groups[0]["lr"] for n, p in run.loop.players.items()})
    run.close()
    assert [round(r["D"], 6) for r in rates] == [0.1] * 3 + [0.01] * 3
    assert round(rates[3]["G"], 6) == 0.01


def test_every_is_a_cadence(tmp_path):
    optim = {"type": "sgd", "momentum": 0, "lr": 0.1, "every": 3}
    run = make(write(tmp_path / "o.yml", gan_options(tmp_path, optim_G=optim)))
    states = [weights(run)]
    for step in (1, 3, 4):
        run.loop.steps = step
        run.loop.run()
        states.append(weights(run))
    run.close()
    moved = [any(not torch.equal(a[k], b[k]) for k in a if k[0] == "G") for a, b in pairwise(states)]
    assert moved == [True, False, True]


def test_what_no_loss_asks_for_is_never_computed(tmp_path):
    run = make(write(tmp_path / "o.yml", gan_options(tmp_path, phases=[{"players": ["G"], "losses": ["pix-l1"]}])))
    calls = []
    run.loop.model.D.register_forward_hook(lambda *_: calls.append(1))
    run.train()
    run.close()
    assert not calls


@pytest.mark.parametrize(("clip", "by"), [(0.05, "norm"), (0.001, "value"), ("auto", "norm")])
def test_gradient_clipping(tmp_path, clip, by):
    """Row 30 of the inventory: with SGD of rate 1, a step is the clipped gradient."""
    optim = {"type": "sgd", "momentum": 0, "lr": 1.0, "clip": clip, "clip_by": by}
    run = make(write(tmp_path / "o.yml", native(tmp_path, optim_G=optim, train={"iterations": 4})))
    norms = []
    for step in range(1, 5):
        before = weights(run)
        run.loop.steps = step
        run.loop.run()
        change = torch.cat([(weights(run)[k] - v).flatten() for k, v in before.items()])
        norms.append(float(change.norm()))
        if by == "value":
            assert float(change.abs().max()) <= clip * 1.001
        elif clip != "auto":
            assert norms[-1] <= clip * 1.001
    run.close()
    assert all(n > 0 for n in norms)
    if clip == "auto":  # never above the lowest norm but one of those seen
        assert max(norms[1:]) <= norms[0] * 1.5


def test_ema_follows_its_formula(tmp_path):
    run = make(write(tmp_path / "o.yml", native(tmp_path, ema={"decay": 0.9})))
    expected = {k: v.clone() for k, v in run.loop.model.G.state_dict().items()}
    for step in range(1, 5):
        run.loop.steps = step
        run.loop.run()
        for k, v in run.loop.model.G.state_dict().items():
            expected[k] = 0.9 * expected[k] + 0.1 * v
    got = run.loop.averages[0].networks["G"].state_dict()
    run.saver.save("x", 4)
    run.close()
    run.saver.close()
    for k, v in expected.items():
        torch.testing.assert_close(got[k], v)
    from darkroom.inference.weights import read_state

    saved = read_state(run.experiment.folder / "models" / "x_emaG.pth")
    torch.testing.assert_close(saved["body.0.weight"], expected["body.0.weight"])


def test_swa_is_the_mean_of_the_models(tmp_path):
    """Row 34, and fault 9.1-16: a start given as a float was ignored."""
    swa = {"start": 2.0, "rate": 1e-3, "anneal": 1}
    run = make(write(tmp_path / "o.yml", native(tmp_path, swa=swa)))
    seen = []
    for step in range(1, 7):
        run.loop.steps = step
        run.loop.run()
        if step > 2:
            seen.append(weights(run)["G.body.0.weight"])
    run.close()
    got = run.loop.averages[0].networks["G"].state_dict()["body.0.weight"]
    torch.testing.assert_close(got, torch.stack(seen).mean(0))


def test_non_finite_step_is_left_out_and_named(tmp_path, capsys):
    run = make(write(tmp_path / "o.yml", native(tmp_path, train={"iterations": 6, "nonfinite_limit": 3})))
    before = weights(run)
    inner = run.loop.prepare

    def poisoned(batch):
        batch = dict(inner(batch))
        if run.loop.step == 1:
            batch["target"] = batch["target"] * math.nan
        return batch

    run.loop.prepare = poisoned
    run.loop.steps = 1
    run.loop.run()
    good = weights(run)
    run.loop.steps = 2
    run.loop.run()
    assert equal(good, weights(run))
    assert not equal(before, good)
    run.loop.steps = 3
    run.loop.run()
    assert not equal(good, weights(run))
    run.close()
    out = capsys.readouterr().out
    assert "iteration 2: the gradients of G are not finite" in out
    assert "Not finite: l1" in out
    assert ".png" in out


def test_diverged_run_stops(tmp_path):
    from darkroom.core.errors import DivergedError

    run = make(write(tmp_path / "o.yml", native(tmp_path, train={"iterations": 9, "nonfinite_limit": 3})))
    inner = run.loop.prepare
    run.loop.prepare = lambda batch: {k: v * math.nan if k == "target" else v for k, v in inner(batch).items()}
    with pytest.raises(DivergedError, match="3 iterations in a row"):
        run.train()
    run.close()
    assert run.loop.step == 2  # the third was not finished


def test_bf16_is_refused_where_the_processor_emulates_it(tmp_path):
    from darkroom.build.device import choose_precision, cpu_computes_bf16
    from darkroom.core.errors import OptionErrors

    cpu, said = torch.device("cpu"), []
    without = tmp_path / "cpuinfo"
    without.write_text("flags: fpu avx2 fma\n")
    assert not cpu_computes_bf16(without)
    without.write_text("flags: fpu avx512_bf16\n")
    assert cpu_computes_bf16(without)
    assert not cpu_computes_bf16(tmp_path / "absent")
    assert choose_precision("bf16", cpu, said.append, force=True) is torch.bfloat16
    assert choose_precision("auto", cpu, said.append) is None
    assert said
    with pytest.raises(OptionErrors, match="fp16 needs a GPU"):
        choose_precision("fp16", cpu, said.append)
    if not cpu_computes_bf16():
        with pytest.raises(OptionErrors, match="20 to 30 times slower"):
            choose_precision("bf16", cpu, said.append)


def test_bf16_trains_when_forced(tmp_path):
    options = gan_options(tmp_path, train={"iterations": 2, "amp": "bf16", "amp_force": True})
    run = make(write(tmp_path / "o.yml", options))
    before = weights(run)
    run.train()
    run.close()
    after = weights(run)
    assert all(v.isfinite().all() for v in after.values())
    assert not equal(before, after)
    assert all(v.dtype == torch.float32 for v in after.values())


def test_channels_last_computes_the_same(tmp_path):
    plain = train(write(tmp_path / "a.yml", gan_options(tmp_path, name="a")))
    last = gan_options(tmp_path, name="b", train={"iterations": 6, "channels_last": True})
    run = make(write(tmp_path / "b.yml", last))
    layouts = []
    run.loop.model.G.register_forward_pre_hook(lambda _, given: layouts.append(given[0]))
    run.train()
    run.close()
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in layouts)
    for key, value in weights(run).items():
        torch.testing.assert_close(value, plain[key], rtol=1e-3, atol=1e-5)
