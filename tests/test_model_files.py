"""``network_G: auto`` and ``spandrel``, and what other programs make of our files. Run this file to print the table."""

import inspect

import pytest
import torch
import yaml
from runs import GAN, ROOT, equal, make, native, photographs, python, train, weights, write

from darkroom.archs import ARCHS
from darkroom.archs.spandrel import SpandrelNetwork, architectures
from darkroom.build.auto import recognisable
from darkroom.build.plan import plan_training, read_options
from darkroom.core.errors import OptionErrors, WeightsError
from darkroom.inference.weights import identify, load_any, load_weights, read_state, save_weights

TINY = {
    "SwinIR": {
        "img_size": 16, "embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 4, "mlp_ratio": 2,
        "upscale": 2, "upsampler": "pixelshuffledirect",
    },
    "HAT": {
        "embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 4, "compress_ratio": 3, "squeeze_factor": 6,
        "mlp_ratio": 2, "upscale": 2, "upsampler": "pixelshuffle",
    },
    "SPAN": {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2},
    "PLKSR": {"dim": 16, "n_blocks": 2, "kernel_size": 5, "upscaling_factor": 2},
    "RealPLKSR": {"dim": 16, "n_blocks": 2, "kernel_size": 5, "upscaling_factor": 2},
    "DAT": {
        "embed_dim": 64, "split_size": [4, 8], "depth": [2], "num_heads": [2], "expansion_factor": 2, "upscale": 2,
        "upsampler": "pixelshuffledirect",
    },
}  # fmt: skip
"""Small networks of spandrel's own classes."""
MERGED = ("eval_conv",)
"""Parts that are computed from others for use, and have nothing to learn."""


def theirs(arch, **more):
    torch.manual_seed(0)
    return architectures()[arch][1](**{**TINY[arch], **more})


def theirs_file(arch, path, **more):
    torch.save({"params": theirs(arch, **more).state_dict()}, path)
    return path


def spandrel_reads(path):
    import spandrel

    return spandrel.ModelLoader().load_from_file(path)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arch", TINY)
def test_any_network_of_spandrel_trains_from_its_file_and_is_read_back(tmp_path, arch):
    file = theirs_file(arch, tmp_path / "theirs.pth")
    path = write(
        tmp_path / "o.yml",
        native(
            tmp_path,
            network_G={"type": "spandrel", "arch": arch},
            optim_G={"type": "adam", "lr": 1e-3},
            train={"iterations": 3},
            ema={"decay": 0.5},
            validate={"every": 2, "metrics": [{"type": "psnr"}]},
            path={"root": str(tmp_path), "pretrain": {"G": str(file)}},
        ),
    )
    options = yaml.safe_load(path.read_text(encoding="utf-8"))
    options["datasets"]["val"] = {"type": "aligned", "target": options["datasets"]["train"]["target"], "limit": 1}
    run = make(write(path, options))
    network = run.loop.model.networks["G"]
    before = weights(run)
    assert equal(network.to_public(network.state_dict()), read_state(file))
    run.train()
    parameters = {n: p for n, p in network.named_parameters() if not any(part in n for part in MERGED)}
    idle = [n for n, p in parameters.items() if p.grad is None or not p.grad.any() or not p.grad.isfinite().all()]
    assert idle == []
    assert len(parameters) > 10
    moved = [n for n in parameters if not torch.equal(before[f"G.{n}"], parameters[n])]
    assert len(moved) == len(parameters)
    run.close()
    x = torch.rand(1, 3, 17, 22)
    for name, module in (("3_G", network), ("3_emaG", run.loop.averages[0].networks["G"])):
        descriptor = spandrel_reads(tmp_path / f"experiments/t/models/{name}.pth")
        assert (descriptor.architecture.id, descriptor.scale) == (architectures()[arch][0].id, 2)
        with torch.no_grad():
            close(descriptor.eval()(x), module.eval()(x).clamp(0, 1))


def test_a_network_of_spandrel_trains_from_scratch_and_resumes_exactly(tmp_path):
    sizes = {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8}  # the scale is that at the top of the file
    network = {"type": "spandrel", "arch": "SPAN", "options": sizes}
    path = write(tmp_path / "o.yml", native(tmp_path, network_G=network))
    whole = train(path)
    assert make_native(path)["network_G"]["scale"] == 2
    (tmp_path / "experiments/t/training_state/6.state").unlink()
    assert equal(whole, train(path, "path.resume_state=auto"))


def make_native(path, *settings):
    return plan_training(read_options(path, settings)).native()


def test_gradients_are_those_of_spandrels_own_network():
    network, net, x = SpandrelNetwork("SwinIR", TINY["SwinIR"]), theirs("SwinIR"), torch.rand(2, 3, 16, 16)
    network.net.load_state_dict(net.state_dict())
    y = network.eval()(4 * x)
    assert y.max() > 1 or y.min() < 0  # nothing is clamped, as spandrel's own call does
    y.square().sum().backward()
    net.eval()(4 * x).square().sum().backward()
    assert all(p.grad.any() for p in net.parameters())
    for ours, other in zip(network.net.parameters(), net.parameters(), strict=True):
        close(ours.grad, other.grad)


def test_inputs_stay_as_they_are():
    """RCAN multiplies its input in place."""
    network = SpandrelNetwork("RCAN", {"n_resgroups": 1, "n_resblocks": 1, "n_feats": 16, "scale": 2})
    x = torch.rand(1, 3, 16, 16)
    before = x.clone()
    network(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arch": "SwinIr"}, r"spandrel has no network 'SwinIr'. Did you mean 'SwinIR'\?"),
        ({"arch": "RealCUGAN"}, "one of the networks of RealCUGAN: UpCunet2x, UpCunet3x"),
        ({"arch": "LaMa"}, "LaMa takes more than an image"),
        ({"arch": "SPAN"}, "SPAN needs num_in_ch, num_out_ch"),
        ({"arch": "SPAN", "options": {"features": 3}}, r"SPAN has no option 'features'.*It takes: num_in_ch"),
        ({"arch": "SwinIR", "options": {"window_size": 7}}, "SwinIR cannot be made with"),
        ({"arch": "SPAN", "options": TINY["SPAN"], "scale": 4}, "expected a network of scale 4, but SPAN enlarges 2"),
        ({"arch": "SwinIR", "options": {**TINY["SwinIR"], "img_range": 255.0}}, "programs read img_range: 1.0; write"),
    ],
    ids=str,
)
def test_networks_that_cannot_be_made_say_why(arguments, message):
    with pytest.raises(ValueError, match=message):
        SpandrelNetwork(**arguments)


def test_options_of_training_that_weights_do_not_tell_count():
    network = SpandrelNetwork("SwinIR", {**TINY["SwinIR"], "drop_path_rate": 0.5})
    rates = [m.drop_prob for m in network.net.modules() if type(m).__name__ == "DropPath"]
    assert max(rates) == 0.5
    assert SpandrelNetwork("SwinIR", TINY["SwinIR"]).net.hyperparameters["drop_path_rate"] == 0.1


def test_the_scale_at_the_top_of_the_file_reaches_spandrels_networks():
    network = SpandrelNetwork("RealPLKSR", {"dim": 16, "n_blocks": 1, "kernel_size": 5}, scale=3)
    assert network.scale == 3
    assert network(torch.rand(1, 3, 9, 8)).shape == (1, 3, 27, 24)


def our_file(path, name="esrgan", layout=None, **options):
    torch.manual_seed(0)
    network = ARCHS[name](**{"nf": 8, "nb": 1, "gc": 4, "scale": 2, **options})
    save_weights(network.to_public(network.state_dict(), layout), path)
    return path


def auto(root, file, **changes):
    path = {"root": str(root), "pretrain": {"G": str(file)}}
    return write(root / "o.yml", native(root, **{"network_G": "auto", "path": path, **changes}))


@pytest.mark.parametrize("layout", ["old", "new", "realesrgan"])
def test_auto_builds_what_the_file_holds_and_says_it(tmp_path, capsys, layout):
    path = auto(tmp_path, our_file(tmp_path / "a.pth", layout=layout))
    train(path)
    said = capsys.readouterr().out
    assert "network_G: esrgan, as " in said
    for part in ("nf: 8", "nb: 1", "gc: 4", "scale: 2", f"layout: {layout}"):
        assert part in said
    written = yaml.safe_load((tmp_path / "experiments/t/native.yml").read_text(encoding="utf-8"))["network_G"]
    assert (written["type"], written["nf"], written["layout"]) == ("esrgan", 8, layout)
    saved = read_state(tmp_path / "experiments/t/models/6_G.pth")
    assert saved.keys() == read_state(tmp_path / "a.pth").keys()


def test_auto_starts_from_the_weights(tmp_path):
    path = auto(tmp_path, our_file(tmp_path / "a.pth"))
    run = make(path)
    network = run.loop.model.networks["G"]
    own = network.to_public(network.state_dict())
    assert equal(own, read_state(tmp_path / "a.pth"))
    run.close()


@pytest.mark.parametrize("arch", ["esrgan", "SPAN"])
def test_a_run_resumes_without_the_file_that_it_started_from(tmp_path, capsys, arch):
    file = our_file(tmp_path / "a.pth") if arch == "esrgan" else theirs_file(arch, tmp_path / "a.pth")
    path = auto(tmp_path, file)
    whole = train(path)
    states = tmp_path / "experiments/t/training_state"
    (states / "6.state").unlink()
    file.rename(tmp_path / "elsewhere.pth")
    capsys.readouterr()
    assert equal(whole, train(path, "path.resume_state=auto"))
    assert "is not there; the network is as the training state says" in capsys.readouterr().out
    (states / "6.state").unlink()
    assert equal(whole, train(path, f"path.resume_state={states / '3.state'}"))
    with pytest.raises(OptionErrors, match=r"o.yml:\d+: network_G: there is no weights file .*a\.pth"):
        make(path)


def test_native_yml_trains_the_same_run(tmp_path):
    path = auto(tmp_path, our_file(tmp_path / "a.pth"))
    whole = train(path)
    (tmp_path / "native.yml").write_bytes((tmp_path / "experiments/t/native.yml").read_bytes())
    assert equal(whole, train(tmp_path / "native.yml"))


def test_overrides_count_more_than_what_the_file_tells(tmp_path):
    file = our_file(tmp_path / "a.pth")
    section = {"type": "auto", "outm": "clamp", "gaussian": False, "layout": "realesrgan"}
    train(auto(tmp_path, file, network_G=section))
    options = make_native(tmp_path / "o.yml")["network_G"]
    assert (options["outm"], options["gaussian"], options["layout"], options["nf"]) == ("clamp", False, "realesrgan", 8)
    assert "body.0.rdb1.conv1.weight" in read_state(tmp_path / "experiments/t/models/6_G.pth")


def test_fine_tuning_to_another_scale_loads_what_fits(tmp_path, capsys):
    file = theirs_file("RealPLKSR", tmp_path / "a.pth", upscaling_factor=4)
    section = {"type": "auto", "options": {"upscaling_factor": 2}}
    path = {"root": str(tmp_path), "pretrain": {"G": str(file)}, "strict": False}
    run = make(auto(tmp_path, file, network_G=section, path=path))
    network = run.loop.model.networks["G"]
    assert network.scale == 2
    assert equal({"a": network.net.feats[0].weight.detach()}, {"a": read_state(file)["feats.0.weight"]})
    assert "of another shape in the file" in capsys.readouterr().out
    run.close()


def test_x3_is_told_from_x2_by_the_scale_of_the_options(tmp_path):
    path = auto(tmp_path, our_file(tmp_path / "a.pth", scale=3), scale=3)
    path.write_text(path.read_text(encoding="utf-8").replace("crop: 32", "crop: 33"), encoding="utf-8")
    assert make_native(path)["network_G"]["scale"] == 3


def test_what_auto_cannot_do_is_said_with_its_place(tmp_path):
    file = our_file(tmp_path / "a.pth")
    cases = {
        "a.pth enlarges 2 times, where 4 is wanted: set scale: 2": {"scale": 4},
        "auto needs path.pretrain_model_G": {"path": {"root": str(tmp_path)}},
        "there is no weights file .*b.pth; in that folder there are a.pth": {
            "path": {"root": str(tmp_path), "pretrain": {"G": str(tmp_path / "b.pth")}}
        },
        "network_G: .*a.pth was not recognised": {"network_G": {"type": "spandrel", "arch": "SwinIR"}},
        "architecture 'esrgan' has no option 'nfs'. Did you mean": {"network_G": {"type": "auto", "nfs": 3}},
    }
    for message, changes in cases.items():
        path = auto(tmp_path, file, **changes)
        with pytest.raises(OptionErrors, match=rf"o.yml:\d+: .*{message}"):
            plan_training(read_options(path))
    path = auto(tmp_path, file)
    text = path.read_text(encoding="utf-8").replace("scale: 2\n", "", 1)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OptionErrors, match="where 1 is wanted: set scale: 2"):
        plan_training(read_options(path))


def test_an_architecture_that_is_not_the_files_is_refused(tmp_path):
    file = theirs_file("SPAN", tmp_path / "a.pth")
    path = auto(tmp_path, file, network_G={"type": "spandrel", "arch": "SwinIR"})
    with pytest.raises(OptionErrors, match=r"holds a network SPAN, not SwinIR; write type: auto"):
        plan_training(read_options(path))


def test_documented_files_may_say_auto_too(tmp_path):
    data = photographs(tmp_path / "HR", count=4, size=64)
    file = our_file(tmp_path / "a.pth", scale=4)
    settings = [
        f"path.root={tmp_path}", f"datasets.train.dataroot_HR={data}", f"datasets.val.dataroot_HR={data}",
        f"path.pretrain_model_G={file}", "datasets.train.crop_size=32", "gpu_ids=[]",
    ]  # fmt: skip
    template = ROOT / "options/sr/train_sr_psnr.yml"
    for spelling in ("auto", "{which_model_G: auto}", "{which_model_G: AUTO, gaussian_noise: false}"):
        found = make_native(template, *settings, f"network_G={spelling}")["network_G"]
        assert (found["type"], found["nf"], found["scale"]) == ("esrgan", 8, 4)
        assert found["gaussian"] is ("gaussian" not in spelling)
    spandrel = theirs_file("SPAN", tmp_path / "b.pth", upscale=4)
    settings[3] = f"path.pretrain_model_G={spandrel}"
    found = make_native(template, *settings, "network_G={which_model_G: spandrel, arch: SPAN}")["network_G"]
    assert (found["arch"], found["options"]["feature_channels"]) == ("SPAN", 8)


def test_auto_with_a_discriminator_trains(tmp_path):
    file = theirs_file("SPAN", tmp_path / "a.pth")
    train(auto(tmp_path, file, train={"iterations": 2}, **GAN))
    assert spandrel_reads(tmp_path / "experiments/t/models/2_G.pth").architecture.id == "SPAN"


@pytest.mark.parametrize("network", ["auto", {"type": "spandrel", "arch": "SPAN"}, None], ids=str)
def test_testing_finds_the_network_too(tmp_path, network):
    photographs(tmp_path / "LR", count=1, size=24)
    file = theirs_file("SPAN", tmp_path / "a.pth")
    options = {
        "name": "t", "model": "sr", "scale": 2, "gpu_ids": [],
        "datasets": {"a": {"type": "single", "input": [str(tmp_path / "LR")]}},
        "path": {"root": str(tmp_path), "pretrain": {"G": str(file)}},
        **({"network_G": network} if network else {}),
    }  # fmt: skip
    done = python("test.py", "-opt", write(tmp_path / "o.yml", options))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SpandrelNetwork x2" in done.stdout
    assert len([*(tmp_path / "results/t/a").iterdir()]) == 1


def test_ours_come_before_spandrels(tmp_path):
    """spandrel knows ESRGAN too."""
    file = our_file(tmp_path / "a.pth", gc=32)
    assert type(load_any(file, recognisable())) is ARCHS["esrgan"]
    assert recognisable()[-1] is SpandrelNetwork
    network, arguments = identify(file, [SpandrelNetwork])
    assert arguments["arch"] == "ESRGAN"
    with torch.no_grad():
        x = torch.rand(1, 3, 12, 9)
        close(network.eval()(x), load_any(file, recognisable()).eval()(x))


def test_a_file_that_seems_ours_but_is_spandrels_is_found_there(tmp_path):
    """Without its last layer it is no ESRGAN of ours, and none of theirs: the first impression is told."""
    state = read_state(our_file(tmp_path / "a.pth"))
    key = list(state)[-1]
    save_weights({k: t for k, t in state.items() if k != key}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match="does not fit RRDBNet"):
        load_any(tmp_path / "b.pth", recognisable())


def test_old_keys_of_spandrels_architectures_load(tmp_path):
    """SwinIR files with unshuffling have conv_first.1, which spandrel renames."""
    options = {**TINY["SwinIR"], "upsampler": "nearest+conv", "upscale": 4, "start_unshuffle": 2}
    network = SpandrelNetwork("SwinIR", options)
    public = network.to_public(network.state_dict())
    assert "conv_first.1.weight" in public
    save_weights(public, tmp_path / "a.pth")
    other = load_any(tmp_path / "a.pth", recognisable(), scale=2)
    assert spandrel_reads(tmp_path / "a.pth").scale == 2
    assert equal(dict(other.state_dict()), dict(network.state_dict()))
    assert load_weights(network, tmp_path / "a.pth") == []


# What spandrel makes of the files that we write.

UNKNOWN = ("srresnet", "espcn", "ppon", "pan", "a2n", "abpn", "asrresnet", "srflow", "unet", "resnet", "wbc")
"""Modules of networks that spandrel does not know at all."""
VARIANTS = {
    "rrdb": [
        *({"layout": layout, "scale": scale} for layout in ("old", "new", "realesrgan") for scale in (1, 2, 4)),
        {"scale": 8},
        {"plus": True},
        {"in_nc": 1, "out_nc": 1},
        {"unshuffle": 2, "scale": 2, "layout": "realesrgan"},
        {"unshuffle": 4, "scale": 1, "layout": "realesrgan"},
    ],
    "compact": [*({"scale": scale} for scale in (1, 2, 4)), {"in_nc": 1, "out_nc": 1}],
}
"""Options of a family under which files are written."""
SMALL = {"nf": 8, "nb": 2, "gc": 32, "num_conv": 2, "dim": 8, "unf": 8, "ngf": 8, "n_blocks": 2, "gaussian": False}


def family(name):
    return ARCHS[name].__module__.rpartition(".")[2]


def rows():
    """(name, options) of every file that is tried."""
    judges = ("patchgan", "vgg_discriminator", "unet_discriminator", "sft_discriminator", "wbc_discriminator")
    critics = (*judges, "edgeconnect_discriminator")
    more_inputs = ("locnet", "sft", "segmentation", "edgeconnect")
    names = {ARCHS[name]: name for name in ARCHS if family(name) not in (*critics, *more_inputs, "spandrel")}
    first = {family(name): name for name in reversed(names.values())}
    tried = {name: VARIANTS.get(family(name), [{}]) if name == first[family(name)] else [{}] for name in names.values()}
    return [(name, options) for name, variants in tried.items() for options in variants]


def told(name, options):
    """What spandrel says of our file: the architecture and the largest difference, or None."""
    import spandrel

    torch.manual_seed(0)
    known = inspect.signature(ARCHS[name]).parameters
    network = ARCHS[name](**{k: v for k, v in {**SMALL, **options}.items() if k in known}).eval()
    try:
        descriptor = spandrel.MAIN_REGISTRY.load(network.to_public(network.state_dict()))
    except spandrel.UnsupportedModelError:
        return None
    x = torch.rand(1, options.get("in_nc", 3), 24, 16)
    with torch.no_grad():
        a, b = descriptor.model.eval()(x.clone()), network(x)
    assert a.shape == b.shape
    return descriptor.architecture.id, (a - b).abs().max().item() / b.abs().max().item()


@pytest.mark.parametrize(("name", "options"), rows(), ids=str)
def test_spandrel_computes_the_same_with_our_files(name, options):
    found = told(name, options)
    if family(name) in UNKNOWN:
        assert found is None, "spandrel knows it now: test it"
        return
    assert found is not None, f"spandrel does not know {name}: add its module to UNKNOWN"
    architecture, error = found
    assert architecture == {"rrdb": "ESRGAN", "compact": "Compact"}[family(name)]
    assert error < 1e-5


def test_the_table_has_rows():
    assert len([1 for name, _ in rows() if family(name) == "rrdb"]) >= 13
    assert {family(name) for name, _ in rows()} >= {"rrdb", "compact", "srresnet", "espcn"}


if __name__ == "__main__":
    for name, options in rows():
        found = told(name, options)
        text = "not known" if found is None else f"{found[0]:8} differs by {found[1]:.0e}"
        print(f"{name:20} {', '.join(f'{k}: {v}' for k, v in options.items()):40} {text}")
