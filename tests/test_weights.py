"""Weights files: every wrapping, every kind of misfit, whole files only, and what other programs make of ours."""

import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from darkroom.archs.compact import SRVGGNetCompact
from darkroom.archs.espcn import ESPCN
from darkroom.archs.rrdb import RRDBNet
from darkroom.archs.srresnet import MSRResNet, SRResNet
from darkroom.archs.vgg_discriminator import VGGDiscriminator
from darkroom.core.errors import WeightsError
from darkroom.inference.weights import (
    WRAPPERS,
    load_any,
    load_weights,
    read_state,
    recognise,
    save_weights,
)

CANDIDATES = [RRDBNet, SRResNet, MSRResNet, SRVGGNetCompact, ESPCN]


def espcn(seed=0, **options):
    torch.manual_seed(seed)
    return ESPCN(nf=4, **{"scale": 2, **options}).eval()


def rrdb(**options):
    torch.manual_seed(0)
    return RRDBNet(**{"nf": 8, "nb": 2, "gc": 4, **options}).eval()


def same(a, b):
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def state():
    return espcn().state_dict()


@pytest.mark.parametrize("key", [*WRAPPERS, "some_name_of_my_own"])
def test_wrappers_come_off(tmp_path, state, key):
    torch.save({"epoch": 3, key: state, "optimizer": {"lr": 1e-4}}, tmp_path / "a.pth")
    assert same(read_state(tmp_path / "a.pth"), state)


def test_wrappers_come_off_in_depth_and_averages_are_preferred(tmp_path, state):
    other = espcn(seed=1).state_dict()
    cases = {
        "nested": {"iteration": 7, "model": {"state_dict": state}},
        "average": {"params": other, "params_ema": state},
        "hyphen": {"params": other, "params-ema": state},
        "ema": {"model": other, "ema": {"state_dict": state}},
        "optimizer": {"net": state, "optimizer": {"state": {0: {"exp_avg": torch.rand(3)}}}},
        "numbers": {**state, "epoch": 4, "name": "x", "best": None},
        "edgeconnect": {"iteration": 20, "generator": state},
    }
    for name, content in cases.items():
        torch.save(content, tmp_path / f"{name}.pth")
        assert same(read_state(tmp_path / f"{name}.pth"), state), name


@pytest.mark.parametrize("prefixes", [["module."], ["_orig_mod."], ["module.", "_orig_mod."], ["netG."]])
def test_prefixes_of_wrapping_modules_come_off(tmp_path, state, prefixes):
    wrapped = {"".join(prefixes) + key: tensor for key, tensor in state.items()}
    torch.save(wrapped, tmp_path / "a.pth")
    assert same(read_state(tmp_path / "a.pth"), state)
    partly = {"module.a": torch.rand(2), "b": torch.rand(2)}
    torch.save(partly, tmp_path / "b.pth")
    assert list(read_state(tmp_path / "b.pth")) == ["module.a", "b"]


def test_averaged_models_and_cem_come_out(tmp_path, state):
    average = torch.optim.swa_utils.AveragedModel(espcn())
    torch.save(average.state_dict(), tmp_path / "swa.pth")
    assert same(read_state(tmp_path / "swa.pth"), state)
    cem = {f"generated_image_model.module.{k}": t for k, t in state.items()} | {"filter.kernel": torch.rand(3)}
    torch.save(cem, tmp_path / "cem.pth")
    assert same(read_state(tmp_path / "cem.pth"), state)


def test_data_parallel_files_load(tmp_path):
    network = rrdb()
    parallel = torch.nn.DataParallel(network)
    torch.save(parallel.state_dict(), tmp_path / "a.pth")
    other = rrdb(gaussian=False)
    torch.nn.init.zeros_(other.first.weight)
    assert load_weights(other, tmp_path / "a.pth") == []
    assert same(other.state_dict(), network.state_dict())


def test_safetensors_and_legacy_files(tmp_path, state):
    from safetensors import safe_open

    save_weights(state, tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    found = read_state(tmp_path / "a.safetensors")
    assert all(torch.equal(found[k], state[k]) for k in state)
    torch.save(OrderedDict(state), tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    assert (tmp_path / "b.pth").read_bytes()[:2] != b"PK"
    assert same(read_state(tmp_path / "b.pth"), state)


def test_saved_files_are_plain_state_dicts(tmp_path, state):
    state = {k: t.clone().requires_grad_() for k, t in state.items()}
    state["a.view"] = torch.rand(1000, 1000)[:2, :3].t()
    state["some.rows"] = torch.rand(1000, 1000)[:2]
    state["same.memory"] = state["layers.0.weight"]
    for suffix in (".pth", ".pt", ".safetensors"):
        path = tmp_path / "deep" / f"a{suffix}"
        save_weights(state, path)
        assert path.stat().st_size < 80_000  # not the millions of numbers behind the views
        found = read_state(path)
        assert set(found) == set(state)
        assert all(torch.equal(found[k], state[k]) for k in state)
    plain = torch.load(tmp_path / "deep" / "a.pth", weights_only=True)
    assert type(plain) is dict
    assert not any(t.requires_grad for t in plain.values())
    with pytest.raises(ValueError, match=r"\.pth, \.pt, \.safetensors, found a\.bin"):
        save_weights(state, tmp_path / "a.bin")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, state, monkeypatch, suffix):
    import safetensors.torch

    path = tmp_path / f"a{suffix}"
    save_weights(state, path)
    old = path.read_bytes()
    new = {key: tensor + 1 for key, tensor in state.items()}

    def full(*args, **kwargs):
        Path(args[1]).write_bytes(b"half a f")
        raise OSError(28, "No space left on device")

    def wrapped(*args, **kwargs):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    def no_rename(*args):
        raise PermissionError(13, "in use")

    breakages = [(torch, "save", full), (torch, "save", wrapped)] if suffix == ".pth" else []
    if suffix == ".safetensors":
        breakages.append((safetensors.torch, "save_file", full))
    for owner, name, broken in [*breakages, (os, "replace", no_rename), (os, "fsync", no_rename)]:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, broken)
            with pytest.raises(OSError, match=r"No space|failed writing|in use"):
                save_weights(new, path)
        assert path.read_bytes() == old
        assert [p.name for p in tmp_path.iterdir()] == [path.name]
    save_weights(new, path)
    assert all(torch.equal(t, new[k]) for k, t in read_state(path).items())


def test_readers_never_see_a_partial_file(tmp_path, state, monkeypatch):
    path, seen = tmp_path / "a.pth", []
    save_weights(state, path)
    replace = os.replace

    def watch(a, b):
        seen.append((Path(a).name, same(read_state(path), state), len(torch.load(a, weights_only=True))))
        replace(a, b)

    monkeypatch.setattr(os, "replace", watch)
    save_weights({k: t + 1 for k, t in state.items()}, path)
    assert seen == [("a.pth.partial", True, len(state))]


def test_a_misfit_names_the_three_kinds_with_shapes_and_loads_nothing(tmp_path):
    network = espcn()
    before = {k: t.clone() for k, t in network.state_dict().items()}
    given = espcn(seed=1, scale=3).state_dict()
    given["extra.weight"] = torch.rand(2)
    del given["layers.2.bias"]
    save_weights(given, tmp_path / "a.pth")
    with pytest.raises(WeightsError) as error:
        load_weights(network, tmp_path / "a.pth")
    message = str(error.value)
    assert "a.pth does not fit ESPCN" in message
    assert "1 missing from the file: layers.2.bias" in message
    assert "1 not in the network: extra.weight" in message
    assert "2 of another shape in the file: pixel_shuffle.0.weight (27, 4, 3, 3) instead of (12, 4, 3, 3)" in message
    assert "it was made with in_nc: 3, out_nc: 3, nf: 4, scale: 3" in message
    assert same(network.state_dict(), before)


def test_long_lists_are_cut_and_counted(tmp_path):
    save_weights({f"k{i}": torch.rand(1) for i in range(100)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"100 not in the network: k0, k1, k2, k3, k4, k5, k6, k7 and 92 more"):
        load_weights(espcn(), tmp_path / "a.pth")


def test_not_strict_loads_what_fits_and_says_the_rest(tmp_path):
    given, network = espcn(seed=1, scale=3), espcn()
    before = network.pixel_shuffle[0].weight.clone()
    save_weights(given.state_dict(), tmp_path / "a.pth")
    notes = load_weights(network, tmp_path / "a.pth", strict=False)
    assert "4 of the 6 tensors of ESPCN are loaded" in notes[0]
    assert "pixel_shuffle.0.bias (27,) instead of (12,)" in notes[1]
    assert torch.equal(network.layers[0].weight, given.layers[0].weight)
    assert torch.equal(network.pixel_shuffle[0].weight, before)
    save_weights({"a": torch.rand(2), "b": torch.rand(3)}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match="not in the network: a, b"):
        load_weights(network, tmp_path / "b.pth", strict=False)


def test_nothing_is_paired_by_position(tmp_path):
    network = espcn()
    renamed = {f"x{i}": t for i, t in enumerate(espcn(seed=1).state_dict().values())}
    save_weights(renamed, tmp_path / "a.pth")
    for strict in (True, False):
        with pytest.raises(WeightsError):
            load_weights(network, tmp_path / "a.pth", strict)
    shuffled = dict(reversed(espcn(seed=1).state_dict().items()))
    save_weights(shuffled, tmp_path / "b.pth")
    load_weights(network, tmp_path / "b.pth")
    assert same(network.state_dict(), espcn(seed=1).state_dict())


def test_counters_of_batch_norms_may_be_missing(tmp_path):
    critic = VGGDiscriminator(size=16, nf=4, hidden=4)
    public = critic.to_public(critic.state_dict())
    old = {key: tensor for key, tensor in public.items() if not key.endswith("num_batches_tracked")}
    assert len(old) < len(public)
    save_weights(old, tmp_path / "a.pth")
    assert load_weights(VGGDiscriminator(size=16, nf=4, hidden=4), tmp_path / "a.pth") == []


def test_a_published_file_of_the_last_layers_only_loads_when_not_strict(tmp_path):
    critic = VGGDiscriminator(size=16, nf=4, hidden=4, layout="fea")
    public = {k: t for k, t in critic.to_public(critic.state_dict()).items() if k.startswith("classifier.")}
    save_weights(public, tmp_path / "a.pth")
    other = VGGDiscriminator(size=16, nf=4, hidden=4, layout="fea")
    assert "4 of the" in load_weights(other, tmp_path / "a.pth", strict=False)[0]
    assert torch.equal(other.head.linear1.weight, critic.head.linear1.weight)


def test_half_precision_files_load_into_float32(tmp_path):
    given, network = espcn(seed=1), espcn()
    save_weights({k: t.half() for k, t in given.state_dict().items()}, tmp_path / "a.safetensors")
    load_weights(network, tmp_path / "a.safetensors")
    assert network.layers[0].weight.dtype == torch.float32
    torch.testing.assert_close(network.layers[0].weight, given.layers[0].weight, rtol=1e-3, atol=1e-4)


def test_files_that_are_no_weights_say_what_they_are(tmp_path, state):
    save_weights(state, tmp_path / "good.pth")
    save_weights(state, tmp_path / "good.safetensors")
    good, tensors = (tmp_path / "good.pth").read_bytes(), (tmp_path / "good.safetensors").read_bytes()
    torch.save(state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    legacy = (tmp_path / "legacy.pth").read_bytes()
    cases = {
        "cut.pth": (good[: len(good) // 2], "damaged or cut short: copy or download it again"),
        **{f"cut{n}.pth": (legacy[:n], "damaged or cut short") for n in (10, 50, 200, len(legacy) - 20)},
        "cut.safetensors": (tensors[: len(tensors) // 2], "damaged or cut short"),
        "huge.safetensors": (struct.pack("<Q", 2**60) + b"{}", "damaged or cut short"),
        "empty.pth": (b"", "is empty"),
        "page.pth": (b"<!DOCTYPE html><html>404</html>", "is a web page"),
        "lfs.pth": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        "text.pth": (b"hello, this is a text", "is no weights file"),
        "image.pth": (b"\xff\xd8\xff\xe0" + bytes(100), "is no weights file"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=message) as error:
            read_state(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(WeightsError, match=r"no weights file .*absent\.pth; in that folder there are cut\.pth"):
        read_state(tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match="a folder; name a file in it"):
        read_state(tmp_path)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_nothing_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"params": {"a": torch.rand(1)}, "args": Harmful()}, tmp_path / "a.pth")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "c.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(WeightsError):
        read_state(tmp_path / "b.pth")
    for name, kind in (("a.pth", "mkdir"), ("c.pth", "Linear")):
        with pytest.raises(WeightsError, match=rf"besides tensors \(.*{kind}\), which could run any code"):
            read_state(tmp_path / name)
    assert not (tmp_path / "harm").exists()


def test_contents_without_weights_say_what_there_is(tmp_path):
    cases = {
        "numbers.pth": ({"epoch": 3, "loss": 0.1}, "only the keys epoch, loss"),
        "list.pth": ([torch.rand(2)], "a list: expected tensors by name"),
        "none.pth": ({}, "an empty dictionary"),
        "both.pth": ({"G": {"a": torch.rand(1)}, "D": {"a": torch.rand(1)}}, "several sets of tensors, G, D"),
    }
    for name, (content, message) in cases.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(WeightsError, match=message):
            read_state(tmp_path / name)


@pytest.mark.parametrize("layout", ["old", "new", "realesrgan"])
@pytest.mark.parametrize(
    "options", [{}, {"scale": 2, "unshuffle": 2}, {"scale": 1, "unshuffle": 4}, {"scale": 2}], ids=str
)
def test_any_layout_is_recognised_and_computes_the_same(tmp_path, layout, options):
    network, x = rrdb(**options), torch.rand(1, 3, 8, 12)
    save_weights(network.to_public(network.state_dict(), layout), tmp_path / "a.pth")
    assert recognise(read_state(tmp_path / "a.pth"), CANDIDATES)[0] is RRDBNet
    found = load_any(tmp_path / "a.pth", CANDIDATES)
    assert (type(found), found.scale) == (RRDBNet, network.scale)
    with torch.no_grad():
        assert torch.equal(found.eval()(x), network(x))


def test_the_wanted_scale_decides_between_x2_and_x3(tmp_path):
    network = rrdb(scale=3)
    save_weights(network.to_public(network.state_dict()), tmp_path / "a.pth")
    assert load_any(tmp_path / "a.pth", CANDIDATES).scale == 2
    assert load_any(tmp_path / "a.pth", CANDIDATES, scale=3).scale == 3
    with pytest.raises(WeightsError, match=r"enlarges 2 times, where 4 is wanted: set scale: 2"):
        load_any(tmp_path / "a.pth", CANDIDATES, scale=4)


@pytest.mark.parametrize(
    "options",
    [
        *({"scale": s, "layout": lay} for s in (1, 2, 4, 8) for lay in ("old", "new", "realesrgan")),
        {"plus": True},
        {"in_nc": 1, "out_nc": 1},
        {"unshuffle": 2, "scale": 2, "layout": "realesrgan"},
        {"unshuffle": 4, "scale": 1, "layout": "realesrgan"},
    ],
    ids=str,
)
def test_spandrel_loads_our_esrgan_files(tmp_path, options):
    import spandrel

    # spandrel takes 32 growth channels for granted and, in the new layouts, two upsampling stages or none at all
    network = rrdb(**{**options, "gc": 32, "nf": 8, "nb": 2})
    x = torch.rand(1, options.get("in_nc", 3), 12, 8)
    for suffix in (".pth", ".safetensors"):
        save_weights(network.to_public(network.state_dict()), tmp_path / f"a{suffix}")
        descriptor = spandrel.ModelLoader().load_from_file(tmp_path / f"a{suffix}")
        assert descriptor.architecture.id == "ESRGAN"
        assert descriptor.scale == network.scale
        with torch.no_grad():
            torch.testing.assert_close(descriptor.model.eval()(x), network(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_spandrel_loads_our_compact_files(tmp_path, scale):
    import spandrel

    torch.manual_seed(0)
    network, x = SRVGGNetCompact(nf=8, num_conv=3, scale=scale).eval(), torch.rand(1, 3, 11, 8)
    save_weights(network.state_dict(), tmp_path / "a.safetensors")
    descriptor = spandrel.ModelLoader().load_from_file(tmp_path / "a.safetensors")
    assert (descriptor.architecture.id, descriptor.scale) == ("Compact", scale)
    with torch.no_grad():
        torch.testing.assert_close(descriptor.model.eval()(x), network(x), rtol=1e-5, atol=1e-6)


def test_unknown_weights_say_what_was_looked_for(tmp_path):
    save_weights({"strange.weight": torch.rand(3, 3), "odd.bias": torch.rand(3)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError) as error:
        load_any(tmp_path / "a.pth", CANDIDATES)
    message = str(error.value)
    assert "Looked for ESPCN, MSRResNet, RRDBNet, SRResNet, SRVGGNetCompact. It begins" in message
    assert "strange.weight, odd.bias" in message
