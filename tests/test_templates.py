"""Every shipped option file runs as it is, but for paths and sizes: builds, trains, resumes exactly."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from runs import ROOT, equal, make, photographs, save_backbone, train, weights

TRAINING = sorted(
    p for folder in ("i2i", "sr", "srflow") for p in (ROOT / "options" / folder).iterdir() if "test_" not in p.name
)
"""Those of inpainting, which are native, are run by test_edgeconnect.py."""
PPON = [
    "network_G={which_model_G: ppon, nb: 1, nf: 8}",
    "network_D={which_model_D: discriminator_vgg, nf: 8, G_arch: PPON}",
    "train.ppon_stages=[1, 3]",
    "train.restarts=null",
]
SMALL = {
    "train_sr": [
        "network_G={which_model_G: esrgan, nb: 1, nf: 8}",
        "network_D={which_model_D: discriminator_vgg, nf: 8}",
    ],
    "train_sr_psnr": ["network_G={which_model_G: esrgan, nb: 1, nf: 8}"],
    "train_ppon": PPON,
    "train_ppon_finetune": PPON,
    "train_srflow": [
        "network_G={which_model_G: srflow_net, nf: 8, nb: 2, gc: 4, flow: {K: 1, stackRRDB: {blocks: [0, 1]}}}",
        "path.load_submodule=false",
    ],
    "train_sftgan": [
        "network_G={which_model_G: sft_net, nf: 8, nb: 1, cond_nc: 4, cond_nf: 8}",
        "network_D={which_model_D: dis_acd, nf: 8, size: 32}",
        "datasets.train.dataroot_seg=ROOT/maps",
        "datasets.val.dataroot_seg=ROOT/maps",
    ],
    "quickstart": ["network_G.nf=8", "network_G.num_conv=1"],
    "train_pix2pix": [
        "network_G={which_model_G: unet_net, num_downs: 5, ngf: 4, use_dropout: true}",
        "network_D={which_model_D: patchgan, nf: 4, n_layers: 2}",
        "datasets.train.dataroot_AB=ROOT/AB",
        "datasets.train.load_size=40",
        "datasets.val.dataroot_AB=ROOT/AB",
        "datasets.val.load_size=32",
        "train.display_freq=2",
    ],
    "train_cyclegan": [
        "network_G={which_model_G: resnet_net, n_blocks: 1, ngf: 4}",
        "network_D={which_model_D: patchgan, nf: 4, n_layers: 2, norm_type: instance}",
        "datasets.train.dataroot_A=ROOT/HR",
        "datasets.train.dataroot_B=ROOT/B",
        "datasets.train.load_size=40",
        "datasets.val.dataroot_A=ROOT/HR",
        "datasets.val.dataroot_B=ROOT/B",
        "train.display_freq=2",
    ],
    "train_wbc": [
        "network_G={which_model_G: wbcunet, nf: 4}",
        "network_D={which_model_D: patchgan, nf: 4, n_layers: 2, spectral_norm: true}",
        "datasets.train.dataroot_A=[ROOT/HR, ROOT/B]",
        "datasets.train.dataroot_B=[ROOT/B, ROOT/HR]",
        "datasets.val.dataroot_A=ROOT/HR",
        "datasets.val.dataroot_B=ROOT/B",
        "train.display_freq=2",
    ],
}
TRANSLATION = ("train_pix2pix", "train_cyclegan", "train_wbc")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """torch's cache with backbones of random weights, in the layout of the published files."""
    from darkroom.archs.vgg import VGGFeatures
    from darkroom.metrics.lpips import LPIPSDistance

    home = tmp_path_factory.mktemp("torch")
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    vgg, lpips = VGGFeatures(layers=("conv5_4",)), LPIPSDistance("squeeze", linear=True)
    save_backbone(vgg, folder / vgg.file)
    save_backbone(lpips.backbone, folder / lpips.backbone.file)
    return home


@pytest.fixture
def small(tmp_path, hub, monkeypatch):
    """The settings that make a template small, for these photographs."""
    monkeypatch.setenv("TORCH_HOME", str(hub))
    data = photographs(tmp_path / "HR", count=4, size=64)
    for folder in ("maps", "B", "AB"):
        (tmp_path / folder).mkdir()
    for file in data.iterdir():
        sky = np.full((8, 64, 64), [[[255 * (n == 1)]] for n in range(8)], np.uint8)
        np.savez(tmp_path / "maps" / f"{file.stem}.npz", maps=sky)
        day = np.asarray(Image.open(file))
        night = day // 3
        Image.fromarray(night).save(tmp_path / "B" / file.name)
        Image.fromarray(np.concatenate([day, night], axis=1)).save(tmp_path / "AB" / file.name)

    def settings(path: Path, *more: str) -> list[str]:
        common = [
            f"path.root={tmp_path}", "datasets.train.n_workers=0", "datasets.train.batch_size=2",
            "datasets.train.virtual_batch_size=null", "datasets.train.crop_size=32", "gpu_ids=[]", "train.niter=4",
            "train.val_freq=4", "logger.print_freq=1", "logger.save_checkpoint_freq=2", "use_tb_logger=false",
            "sample_photographs=null",
        ]  # fmt: skip
        pretrain = [] if path.stem == "quickstart" else ["path.pretrain_model_G=null"]
        folders = [f"datasets.{part}.dataroot_HR=ROOT/HR" for part in ("train", "val") if path.stem not in TRANSLATION]
        own = [setting.replace("ROOT", str(tmp_path)) for setting in (*folders, *SMALL[path.stem])]
        return [*common, *pretrain, *own, *more]

    return settings


def test_templates_were_found():
    assert [p.name for p in TRAINING] == [
        *("train_cyclegan.yml", "train_pix2pix.yml", "train_wbc.yml"),
        *("quickstart.yml", "train_ppon.yml", "train_ppon_finetune.yml", "train_sftgan.json", "train_sftgan.yml"),
        *("train_sr.json", "train_sr.yml", "train_sr_psnr.yml", "train_srflow.yml"),
    ]


@pytest.mark.parametrize("path", TRAINING, ids=lambda p: p.name)
def test_template_trains_and_resumes_exactly(path, small, tmp_path):
    whole = train(path, *small(path))
    folder = next((tmp_path / "experiments").glob("[!.]*"))
    assert (folder / "training_state" / "4.state").exists()
    (folder / "training_state" / "4.state").unlink()
    assert equal(whole, train(path, *small(path), "path.resume_state=auto"))
    assert (folder / f"options{path.suffix}").read_bytes() == path.read_bytes()
    assert list((folder / "val_images").rglob("*_4*.png"))
    assert [p.name for p in sorted(folder.glob("disp_images/*"))] == ["2.png", "4.png"] * (path.stem in TRANSLATION)


def test_row_10_the_esrgan_recipe(small, tmp_path, capsys):
    """Pixel, VGG19 conv5_4 and relativistic GAN losses, logged under their names, each reaching G."""
    path = ROOT / "options/sr/train_sr.yml"
    train(path, *small(path))
    out = capsys.readouterr().out
    for name in ("pix-l1: ", "fea-vgg19-l1: ", "l_g_gan: ", "l_d_real: ", "l_d_fake: ", "D_real: ", "D_fake: "):
        assert out.count(name) == 4, name
    assert re.search(r"# Validation # PSNR: \d+\.\d+, SSIM: 0\.\d+, LPIPS: 0\.\d+", out)
    assert "nan" not in out


def test_row_4_fine_tuning_from_an_old_layout_file(small, tmp_path):
    path = ROOT / "options/sr/train_sr_psnr.yml"
    train(path, *small(path, "name=first"))
    file = tmp_path / "experiments/first/models/4_G.pth"
    keys = torch.load(file, weights_only=True).keys()
    assert "model.0.weight" in keys  # what iNNfer, chaiNNer and others load
    assert "model.1.sub.0.RDB1.conv1.0.weight" in keys
    run = make(path, *small(path, "name=second", f"path.pretrain_model_G={file}"))
    first = train(path, *small(path, "name=first"))
    assert equal(first, weights(run))
    run.close()


def test_files_of_the_spec_need_no_vgg_where_nothing_asks_for_it(small, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    path = ROOT / "options/sr/train_sr.yml"
    train(path, *small(path, "train.feature_weight=0", "train.metrics=psnr"))


def test_missing_backbone_is_an_error_before_training(small, tmp_path, monkeypatch):
    from darkroom.core.errors import WeightsError

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    path = ROOT / "options/sr/train_sr.yml"
    with pytest.raises(WeightsError, match=r"vgg19.*neither in .*nothing"):
        make(path, *small(path))


def test_paired_folders_and_lr_on_the_fly_train_alike(small, tmp_path):
    """LR files made as MATLAB's imresize does give the same bits as LR made on the fly."""
    from darkroom.data.images import Picture, read, write
    from darkroom.filters.resize import resize_uint8

    path = ROOT / "options/sr/train_sr_psnr.yml"
    fly = train(path, *small(path, "name=fly"))
    (tmp_path / "LR").mkdir()
    for file in (tmp_path / "HR").iterdir():
        low = resize_uint8(read(file).pixels, 1 / 4)
        assert low.dtype == np.uint8
        write(tmp_path / "LR" / file.name, Picture(low))
    paired = [f"datasets.{part}.dataroot_LR={tmp_path / 'LR'}" for part in ("train", "val")]
    assert equal(fly, train(path, *small(path, "name=files", *paired)))
