"""test_seg.py and transfer_params_sft.py, run as users run them; their files against the computation written out."""

import importlib.util
import math

import files
import numpy as np
import pytest
import torch
from PIL import Image
from runs import ROOT, python

from darkroom.archs.segmentation import OutdoorSceneSeg
from darkroom.archs.sft import SFTNet
from darkroom.archs.srresnet import MSRResNet, SRResNet
from darkroom.build import segmentation
from darkroom.cli import segment
from darkroom.data.images import read, write
from darkroom.data.segmented import Segmented, read_maps
from darkroom.filters.resize import imresize
from darkroom.inference.weights import load_weights, read_state, save_weights


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


transfer = script("transfer_params_sft")


def run(capsys, command, *arguments, code=0):
    """The command in this process; what it prints, on which stream depends on the exit code."""
    capsys.readouterr()
    try:
        found = command.main([*map(str, arguments)])
    except SystemExit as stop:
        found = stop.code
    printed = capsys.readouterr()
    assert found == code, printed
    return printed.out if found == 0 else printed.out + printed.err


@pytest.fixture(scope="module")
def network():
    """A tiny network with statistics of its own, so that its classes vary over an image."""
    torch.manual_seed(5)
    made = OutdoorSceneSeg(nf=4, blocks=(1, 2, 1, 1))
    made.train()
    for _ in range(3):
        made(torch.rand(2, 3, 32, 32))
    with torch.no_grad():
        made.deconv.weight.mul_(40)
    return made.eval()


@pytest.fixture
def model(network, tmp_path):
    save_weights(network.state_dict(), tmp_path / "seg.pth")
    return tmp_path / "seg.pth"


def images(folder, sizes):
    for seed, (name, (height, width)) in enumerate(sizes.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name, files.photograph(height, width, seed))
    return folder


def by_hand(network, pixels, reduce=True):
    """As the published script has it, but for the sides: MATLAB's bicubic to a quarter and back, then the network."""
    image = pixels.astype(np.float64) / 255
    image = imresize(imresize(image, 1 / 4) if reduce else image, 4.0)
    height, width = pixels.shape[:2] if reduce else image.shape[:2]
    x = torch.from_numpy(image[:height, :width]).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        return network(x)[0]


# test_seg.py


def test_maps_are_those_of_the_published_script(tmp_path, capsys, network, model):
    sizes = {"sky/1.png": (48, 64), "sky/2.jpg": (33, 45), "3.png": (40, 24)}
    folder = images(tmp_path / "img", sizes)
    said = run(capsys, segment, "-i", folder, "-o", tmp_path / "bicseg", "-m", model)
    assert "background, sky, water, grass, mountain, building, plant, animal" in said
    assert "3 done, 0 already there, 0 failed" in said
    for name, size in sizes.items():
        path = (tmp_path / "bicseg" / name).with_suffix("")
        maps = torch.load(path.with_name(f"{path.name}_bic.pth"), weights_only=True)
        assert maps.shape == (8, *size)
        assert maps.dtype == torch.float32
        torch.testing.assert_close(maps, by_hand(network, read(folder / name).pixels), atol=2e-5, rtol=1e-4)
    assert maps.argmax(0).unique().numel() > 1
    assert len([*tmp_path.glob("bicseg/**/*")]) == 4  # the folder sky too


def test_compact_maps_serve_as_well(tmp_path, capsys, model):
    folder = images(tmp_path / "img", {"sky.png": (48, 64)})
    for kind in ("pth", "npz"):
        run(capsys, segment, "-i", folder, "-o", tmp_path / kind, "-m", model, "--format", kind)
    whole = torch.load(tmp_path / "pth" / "sky_bic.pth", weights_only=True)
    with np.load(tmp_path / "npz" / "sky_bic.npz") as arrays:
        assert arrays["maps"].dtype == np.uint8
        assert np.array_equal(arrays["maps"], np.rint(whole.numpy() * 255))
    items = [
        Segmented(str(folder), maps=str(tmp_path / kind)).item(0, None or np.random.default_rng(0))
        for kind in ("pth", "npz")
    ]
    assert torch.equal(items[0]["maps"], items[1]["maps"])


def test_small_images_are_only_enlarged(tmp_path, capsys, network, model):
    folder = images(tmp_path / "LR", {"1.png": (12, 17)})
    run(capsys, segment, "-i", folder, "-o", tmp_path / "maps", "-m", model, "--lr")
    maps = torch.from_numpy(read_maps(tmp_path / "maps" / "1_bic.pth"))
    assert maps.shape == (8, 48, 68)
    torch.testing.assert_close(maps, by_hand(network, read(folder / "1.png").pixels, False), atol=2e-5, rtol=1e-4)
    run(capsys, segment, "-i", folder, "-o", tmp_path / "as_is", "-m", model, "--factor", 1)
    x = torch.from_numpy(read(folder / "1.png").pixels).permute(2, 0, 1)[None] / 255
    plain = torch.from_numpy(read_maps(tmp_path / "as_is" / "1_bic.pth"))
    torch.testing.assert_close(plain, network(x)[0].detach(), atol=2e-5, rtol=1e-4)


def test_gray_deep_and_transparent_images(tmp_path, capsys, network, model):
    folder = tmp_path / "img"
    rgb, gray = files.photograph(32, 40), files.photograph(32, 40, channels=1)
    files.save(folder / "alpha.png", np.dstack([rgb, rgb[:, :, 0]]))
    files.save(folder / "gray.png", gray)
    write(folder / "deep.png", rgb.astype(np.uint16) * 257)
    run(capsys, segment, "-i", folder, "-o", tmp_path / "maps", "-m", model)
    for name, pixels in (("alpha", rgb), ("gray", gray.repeat(3, 2)), ("deep", rgb)):
        maps = torch.from_numpy(read_maps(tmp_path / "maps" / f"{name}_bic.pth"))
        torch.testing.assert_close(maps, by_hand(network, pixels), atol=2e-5, rtol=1e-4)


def test_previews_show_the_classes(tmp_path, capsys, model):
    folder = images(tmp_path / "img", {"a/1.png": (48, 64)})
    run(capsys, segment, "-i", folder, "-o", tmp_path / "maps", "-m", model, "--preview", "--format", "npz")
    assert sorted(p.name for p in (tmp_path / "maps" / "a").iterdir()) == ["1_bic.npz", "1_preview.jpg"]
    maps = read_maps(tmp_path / "maps" / "a" / "1_bic.npz").astype(np.float32) / 255
    shown = segmentation.preview("1.png", read(folder / "a" / "1.png"), maps)
    colours = np.array(segmentation.COLOURS)[maps.argmax(0)]
    spots = np.argwhere((shown == colours[0, 0]).all(2))
    assert any(np.array_equal(shown[y : y + 48, x : x + 64], colours) for y, x in spots)
    assert not any(np.array_equal(shown[y : y + 48, x : x + 64], colours[:, ::-1]) for y, x in spots)
    saved = np.asarray(Image.open(tmp_path / "maps" / "a" / "1_preview.jpg").convert("RGB"))
    assert saved.shape == shown.shape
    assert np.abs(saved.astype(int) - shown).mean() < 8


def test_a_key_names_the_shares_of_the_classes(monkeypatch):
    cells = []
    monkeypatch.setattr(segmentation, "sheet", lambda rows: cells.append(rows) or np.zeros((4, 4, 3), np.uint8))
    maps = np.zeros((8, 4, 8), np.float32)
    maps[1, :, :6] = maps[7, :, 6:] = 1
    segmentation.preview("x.png", read_picture(), maps)
    assert [[label for label, _ in row] for row in cells[0]] == [["sky 75.0%"], ["animal 25.0%"]]
    assert [tuple(row[0][1][0, 0]) for row in cells[0]] == [(0, 255, 255), (224, 102, 102)]
    assert segmentation.class_names(3) == ["class 0", "class 1", "class 2"]
    assert len({segmentation._colour(n) for n in range(20)}) == 20


def read_picture():
    from darkroom.data.images import Picture

    return Picture(files.photograph(4, 8))


def test_what_is_there_is_skipped_and_what_fails_is_told(tmp_path, capsys, model):
    folder = images(tmp_path / "img", {"1.png": (16, 16), "2.png": (16, 24), "3.png": (24, 16)})
    arguments = ["-i", folder, "-o", tmp_path / "maps", "-m", model, "--skip-existing"]
    content = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(content[:60])
    said = run(capsys, segment, *arguments, code=1)
    assert "2 done, 0 already there, 1 failed" in said
    assert "2.png: " in said
    (tmp_path / "maps" / "1_bic.pth").write_bytes(b"mine")
    (folder / "2.png").write_bytes(content)
    assert "1 done, 2 already there, 0 failed" in run(capsys, segment, *arguments)
    assert (tmp_path / "maps" / "1_bic.pth").read_bytes() == b"mine"
    assert read_maps(tmp_path / "maps" / "2_bic.pth").shape == (8, 16, 24)


def test_ctrl_c_leaves_whole_files(tmp_path, capsys, model, monkeypatch):
    folder = images(tmp_path / "img", {f"{i}.png": (16, 16) for i in range(8)})
    real, count = segmentation.maps_of, []

    def stopped(*arguments):
        count.append(1)
        if len(count) == 7:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(segmentation, "maps_of", stopped)
    said = run(capsys, segment, "-i", folder, "-o", tmp_path / "maps", "-m", model, code=130)
    assert "of 8 files are done; --skip-existing goes on from there" in said
    assert [p.suffix for p in (tmp_path / "maps").iterdir()] == [".pth"] * 6


def test_names_that_differ_in_their_ending_only_get_maps_of_their_own(tmp_path, capsys, model):
    folder = images(tmp_path / "img", {"1.png": (16, 24), "1.jpg": (24, 16)})
    run(capsys, segment, "-i", folder, "-o", tmp_path / "bicseg", "-m", model)
    dataset = Segmented(str(folder))
    for i, (path, _) in enumerate(dataset.pairs()):
        item = dataset.item(i, np.random.default_rng(0))
        assert item["maps"].shape[1:] == item["target"].shape[1:] == read(path).size


def test_models_of_other_sizes_are_known_by_their_weights(tmp_path):
    made = OutdoorSceneSeg(classes=5, nf=2, blocks=(2, 1, 3, 1))
    save_weights({f"module.{k}": t for k, t in made.state_dict().items()}, tmp_path / "m.safetensors")
    found = segmentation.load_segmentation(tmp_path / "m.safetensors")
    assert all(torch.equal(t, found.state_dict()[k]) for k, t in made.state_dict().items())


def test_errors_of_test_seg(tmp_path, capsys, model):
    folder = images(tmp_path / "img", {"1.png": (16, 16)})
    save_weights(SRResNet(nf=4, nb=1).state_dict(), tmp_path / "sr.pth")
    said = run(capsys, segment, "-i", folder, "-o", tmp_path / "o", "-m", tmp_path / "sr.pth", code=1)
    assert "is no network for outdoor scenes" in said
    said = run(capsys, segment, "-i", folder, "-o", tmp_path / "o", "-m", tmp_path / "none.pth", code=1)
    assert "there is no weights file" in said
    said = run(capsys, segment, "-i", tmp_path / "imgs", "-o", tmp_path / "o", "-m", model, code=1)
    assert "Did you mean" in said
    said = run(capsys, segment, "-i", folder, "-o", tmp_path / "o", "-m", model, "--factor", 0, code=2)
    assert "factor: expected 1 or more, found 0" in said
    assert not (tmp_path / "o").exists()


def test_scripts_as_processes(tmp_path, model):
    folder = images(tmp_path / "img", {"1.png": (16, 16)})
    done = python(ROOT / "scripts" / "test_seg.py", "-i", "img", "-o", "maps", "-m", model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "maps" / "1_bic.pth").is_file()
    assert folder.is_dir()
    for name in ("test_seg.py", "transfer_params_sft.py"):
        done = python(ROOT / "scripts" / name, "--help", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"python scripts/{name} -" in done.stdout


# transfer_params_sft.py


def psnr_model(path, **options):
    torch.manual_seed(2)
    made = SRResNet(**{"nf": 6, "nb": 3, **options})
    with torch.no_grad():
        for p in made.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    save_weights(made.to_public(made.state_dict()), path)
    return made.eval()


@pytest.mark.parametrize(("scale", "nb"), [(4, 3), (2, 1), (3, 2), (8, 16)])
def test_without_modulation_the_sft_network_is_the_srresnet(tmp_path, capsys, scale, nb):
    made = psnr_model(tmp_path / "psnr.pth", scale=scale, nb=nb)
    said = run(capsys, transfer, "-m", tmp_path / "psnr.pth", "-o", tmp_path / "ini.pth")
    assert f"network_G: {{type: sft_net, classes: 8, in_nc: 3, out_nc: 3, nf: 6, nb: {nb}, scale: {scale}}}" in said
    sft = SFTNet(nf=6, nb=nb, scale=scale)
    assert load_weights(sft, tmp_path / "ini.pth") == []
    x, maps = torch.rand(2, 3, 7, 5), torch.rand(2, 8, 7 * scale, 5 * scale)
    with torch.no_grad():
        assert not torch.equal(sft(x, maps), made(x))  # the new layers do modulate
        for name, p in sft.named_parameters():
            if "_conv1" in name and "SFT" in name:  # gamma, to which 1 is added, and beta
                p.zero_()
        assert torch.equal(sft(x, maps), made(x))


def test_every_tensor_goes_where_the_published_script_puts_it(tmp_path, capsys):
    psnr_model(tmp_path / "psnr.pth", nb=16)
    run(capsys, transfer, "-m", tmp_path / "psnr.pth", "-o", tmp_path / "ini.pth")
    old, new = read_state(tmp_path / "psnr.pth"), read_state(tmp_path / "ini.pth")
    modules = {"conv0": "model.0", "sft_branch.17": "model.1.sub.16"}
    modules |= {f"sft_branch.{i}.conv{n}": f"model.1.sub.{i}.res.{r}" for i in range(16) for n, r in ((0, 0), (1, 2))}
    modules |= {f"HR_branch.{n}": f"model.{m}" for n, m in ((0, 2), (3, 5), (6, 8), (8, 10))}
    assert len(old) == 2 * len(modules)
    for module, source in modules.items():
        for kind in ("weight", "bias"):
            assert torch.equal(new.pop(f"{module}.{kind}"), old[f"{source}.{kind}"])
    assert all(key.startswith("CondNet.") or ".SFT_" in key for key in new)
    for key, tensor in new.items():
        if key.endswith("bias"):
            assert not tensor.any()
        elif tensor.numel() > 2000:
            expected = 0.1 * math.sqrt(2 / tensor[0].numel())
            assert 0.9 < float(tensor.std()) / expected < 1.1


def test_sizes_of_a_given_network_are_kept(tmp_path, capsys):
    psnr_model(tmp_path / "psnr.pth")
    raw = SFTNet(nf=6, nb=3, classes=5, cond_nc=7, cond_nf=9)
    save_weights(raw.state_dict(), tmp_path / "raw.pth")
    run(capsys, transfer, "-m", tmp_path / "psnr.pth", "-o", tmp_path / "ini.pth", "--like", tmp_path / "raw.pth")
    state = read_state(tmp_path / "ini.pth")
    assert {k: t.shape for k, t in state.items()} == {k: t.shape for k, t in raw.state_dict().items()}


def test_random_weights_depend_on_the_seed_alone(tmp_path, capsys):
    psnr_model(tmp_path / "psnr.pth")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.rand(seed)
        run(capsys, transfer, "-m", tmp_path / "psnr.pth", "-o", tmp_path / f"{name}.pth", "--seed", seed)
    a, b, c = (read_state(tmp_path / f"{name}.pth") for name in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["CondNet.0.weight"], c["CondNet.0.weight"])
    assert torch.equal(a["conv0.weight"], c["conv0.weight"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm_type": "batch"}, "has norm_type: batch; the SFT network is one with norm_type: None"),
        ({"act_type": "prelu"}, "has act_type: prelu"),
        ({"upsample_mode": "upconv"}, "has upsample_mode: upconv"),
        ({"nf": 8}, "does not fit the SFT network of --like: nf 8 instead of 6"),
        ({"nb": 2}, "nb 2 instead of 3"),
        ({"scale": 2, "nb": 5}, "nb 5 instead of 3, scale 2 instead of 4"),
    ],
)
def test_models_that_do_not_fit(tmp_path, capsys, options, message):
    psnr_model(tmp_path / "psnr.pth", **options)
    save_weights(SFTNet(nf=6, nb=3).state_dict(), tmp_path / "raw.pth")
    arguments = ["-m", tmp_path / "psnr.pth", "-o", tmp_path / "ini.pth", "--like", tmp_path / "raw.pth"]
    assert message in run(capsys, transfer, *arguments, code=1)
    assert not (tmp_path / "ini.pth").exists()


def test_other_architectures_and_files_that_are_there(tmp_path, capsys):
    psnr_model(tmp_path / "psnr.pth")
    ms = MSRResNet(nf=6, nb=3)
    save_weights(ms.to_public(ms.state_dict()), tmp_path / "ms.pth")
    arguments = ["-o", tmp_path / "ini.pth", "-m"]
    said = run(capsys, transfer, *arguments, tmp_path / "ms.pth", code=1)
    assert "expected an SRResNet with the keys model.0.weight" in said
    assert "found conv_first.weight" in said
    said = run(capsys, transfer, *arguments, tmp_path / "psnr.pth", "--like", tmp_path / "psnr.pth", code=1)
    assert "Looked for SFTNet" in said
    save_weights(SFTNet(nf=6, nb=3, version="torch").state_dict(), tmp_path / "torch.pth")
    said = run(capsys, transfer, *arguments, tmp_path / "psnr.pth", "--like", tmp_path / "torch.pth", code=1)
    assert "is the version torch" in said
    (tmp_path / "ini.pth").write_bytes(b"mine")
    assert "--force" in run(capsys, transfer, *arguments, tmp_path / "psnr.pth", code=1)
    assert (tmp_path / "ini.pth").read_bytes() == b"mine"
    run(capsys, transfer, *arguments, tmp_path / "psnr.pth", "--force")
    assert "conv0.weight" in read_state(tmp_path / "ini.pth")
