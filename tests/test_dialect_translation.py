"""The documented options of pix2pix, CycleGAN and white-box cartoonization as native sections."""

import pytest
import yaml
from test_dialect import translate as native_of

from darkroom.build.plan import Options, plan_training
from darkroom.config.source import plain
from darkroom.core.errors import OptionErrors

PIX2PIX = """
name: p
model: pix2pix
datasets:
  train: {mode: aligned, dataroot_A: a, dataroot_B: b, preprocess: crop, crop_size: 32}
path: {root: .}
network_G: {which_model_G: unet_net, num_downs: 5, ngf: 4}
network_D: {which_model_D: patchgan, nf: 4, n_layers: 2}
train: {niter: 10, pixel_criterion: l1, pixel_weight: 100, gan_type: vanilla, gan_weight: 1}
"""
CYCLEGAN = """
name: c
model: cyclegan
datasets:
  train: {mode: unaligned, dataroot_A: a, dataroot_B: b, preprocess: crop, crop_size: 32}
path: {root: .}
network_G: {which_model_G: resnet_net, n_blocks: 1, ngf: 4}
network_D: {which_model_D: patchgan, nf: 4, n_layers: 2}
train: {niter: 10, pixel_criterion: l1, pixel_weight: 10, gan_type: lsgan, gan_weight: 1}
"""
WBC = """
name: w
model: wbc
datasets:
  train: {mode: concat_unaligned, dataroot_A: [a, c], dataroot_B: [b, d], preprocess: crop, crop_size: 32}
path: {root: .}
network_G: {which_model_G: wbcunet, nf: 4}
network_D: {which_model_D: patchgan, nf: 4, n_layers: 2}
train:
  niter: 10
  feature_criterion: l1
  feature_weight: 0.002
  tv_type: normal
  tv_norm: 2
  tv_weight: 0.045
  gan_type: lsgan
  gan_weight: 0.02
"""
FILES = {"pix2pix": PIX2PIX, "cyclegan": CYCLEGAN, "wbc": WBC}
TEST = """
name: t
model: {model}
datasets: {{test_1: {{mode: single, dataroot_A: a}}}}
path: {{{path}}}
network_G: {{which_model_G: resnet_net, n_blocks: 1}}
"""
PATHS = {
    "pix2pix": "pretrain_model_G: g.pth",
    "cyclegan": "pretrain_model_G_A: g.pth",
    "wbc": "pretrain_model_G: g.pth",
}


def merged(tree, changes):
    """``changes`` in the nested sections of ``tree``; null removes."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            merged(tree[key], value)
        else:
            tree[key] = value
    return tree


def text_of(model, changes=""):
    """The file of that method, changed by YAML without its outer braces."""
    tree = merged(yaml.safe_load(FILES[model]), yaml.safe_load(f"{{{changes}}}"))
    return yaml.safe_dump(tree, sort_keys=False)


def translate(model, changes=""):
    return native_of(text_of(model, changes))


def fine(model, changes=""):
    native, errors, notes = translate(model, changes)
    assert (errors, notes) == ([], [])
    return plain(native)


def of_test(model, changes=""):
    text = TEST.format(model=model, path=PATHS[model])
    return native_of(yaml.safe_dump(merged(yaml.safe_load(text), yaml.safe_load(f"{{{changes}}}")), sort_keys=False))


def compared(native):
    """What the losses compare: name -> (of, to, critic, weight, scale)."""
    return {
        e["name"]: (e.get("of"), e.get("to"), e.get("critic"), e.get("weight", 1.0), e.get("scale", 1.0))
        for e in native["losses"]
    }


def planned(model, changes=""):
    native, errors, notes = translate(model, changes)
    return plan_training(Options(native, notes, errors))


def wrong(model, changes, words):
    """The words are in the only error, which has its place."""
    _, errors, _ = translate(model, changes)
    assert len(errors) == 1, errors
    assert errors[0].startswith("run.yml:")
    assert words in errors[0]


# CycleGAN


def test_every_loss_of_cyclegan_counts_for_both_cycles_and_identity():
    changes = (
        "pool_size: 50, train: {ssim_type: ssim, ssim_weight: 2, lambda_identity: 0.5, lambda_A: 3, lambda_B: 4,"
        " gan_weight: 0.7}"
    )
    native = fine("cyclegan", changes)
    assert compared(native) == {
        "pix-l1_A": ("rec_A", "real_A", None, 10.0, 3.0),
        "pix-l1_B": ("rec_B", "real_B", None, 10.0, 4.0),
        "pix-l1_idt_A": ("idt_A", "real_B", None, 10.0, 2.0),
        "pix-l1_idt_B": ("idt_B", "real_A", None, 10.0, 1.5),
        "ssim_A": ("rec_A", "real_A", None, 2.0, 3.0),
        "ssim_B": ("rec_B", "real_B", None, 2.0, 4.0),
        "ssim_idt_A": ("idt_A", "real_B", None, 2.0, 2.0),
        "ssim_idt_B": ("idt_B", "real_A", None, 2.0, 1.5),
        "gan_A": ("fake_B", "real_B", "D_A", 0.7, 1.0),
        "gan_B": ("fake_A", "real_A", "D_B", 0.7, 1.0),
    }
    assert {e["name"]: e.get("pool") for e in native["losses"] if e.get("pool")} == {"gan_A": 50, "gan_B": 50}
    assert {e["name"]: e["type"] for e in native["losses"]}["ssim_idt_B"] == "ssim"


def test_without_identity_there_is_nothing_of_it():
    for changes in ("", "train: {lambda_identity: 0}", "train: {lambda_identity: null}"):
        assert [*compared(fine("cyclegan", changes))] == ["pix-l1_A", "pix-l1_B", "gan_A", "gan_B"]
    names = [*compared(fine("cyclegan", "train: {lambda_A: 0, lambda_identity: 1}"))]
    assert names == ["pix-l1_B", "pix-l1_idt_A", "gan_A", "gan_B"], "what counts nothing is not computed"


def test_the_options_of_a_loss_are_those_of_all_its_copies():
    keys = "gan_type: wgan-gp, gp_weight: 5, diffaug: true, dapolicy: color, tv_type: 4D, tv_norm: 1, tv_weight: 3"
    entries = {e["name"]: e for e in fine("cyclegan", f"train: {{{keys}}}")["losses"]}
    for x in "AB":
        gan = {k: entries[f"gan_{x}"][k] for k in ("type", "mode", "form", "gp_weight", "augment")}
        assert gan == {"type": "gan", "mode": "wgan-gp", "form": "standard", "gp_weight": 5.0, "augment": ["color"]}
        assert (entries[f"dtv-l1_{x}"]["directions"], entries[f"dtv-l1_{x}"]["norm"]) == (4, 1)


def test_places_of_copies_are_those_of_their_keys():
    text = text_of("cyclegan", "pool_size: 5, train: {lambda_identity: 0.5}")
    native, _, _ = native_of(text)
    lines = {t.strip().split(":")[0]: f"run.yml:{i}" for i, t in enumerate(text.splitlines(), 1)}
    for entry in native["losses"]:
        assert entry.where("weight") == lines["gan_weight" if "gan" in entry["name"] else "pixel_weight"]
        assert "pool" not in entry or entry.where("pool") == lines["pool_size"]


def test_generators_and_discriminators_are_of_one_kind_each():
    plan = planned("cyclegan")
    assert {name: p.type for name, p in plan.networks.items()} == {
        **dict.fromkeys(("G_A", "G_B"), "resnet_net"),
        **dict.fromkeys(("D_A", "D_B"), "patchgan"),
    }
    assert {name: p.owned for name, p in plan.players.items()} == {"G": ("G_A", "G_B"), "D": ("D_A", "D_B")}
    own = "network_G_B: {type: unet_net, num_downs: 5, nf: 4}"
    assert {name: p.type for name, p in planned("cyclegan", own).networks.items()}["G_B"] == "unet_net"


# White-box cartoonization


def test_the_default_representations():
    native = fine("wbc", "pool_size: 1")
    assert compared(native) == {
        "fea-vgg19-l1_struct": ("fake_B", "superpixels", None, 0.002, 1.0),
        "fea-vgg19-l1_cont": ("fake_B", "real_A", None, 0.002, 1.0),
        "tv-l2_reg": ("fake_B", "real_B", None, 0.045, 1.0),
        "gan_T": ("fake_gray", "real_gray", "D_T", 0.02, 1.0),
        "gan_S": ("fake_blur", "real_blur", "D_S", 0.02, 0.1),
    }
    assert [e.get("pool") for e in native["losses"]] == [None, None, None, 1, 1]
    assert native["model"] == "wbc", "structure is on of itself"


def test_scales_of_representations():
    scales = "surface_scale: 0.2, texture_scale: 0.3, struct_scale: 0.4, content_scale: 0.5, reg_scale: 0.6"
    identity = "pixel_criterion: l1, pixel_weight: 3, lambda_identity: 0.7, surf_losses: [pix], text_losses: [pix]"
    found = {name: of_to[3:] for name, of_to in compared(fine("wbc", f"train: {{{scales}, {identity}}}")).items()}
    assert found == {
        "pix-l1_surf": (3.0, 0.2),
        "pix-l1_text": (3.0, 0.3),
        "fea-vgg19-l1_struct": (0.002, 0.4),
        "fea-vgg19-l1_cont": (0.002, 0.5),
        "tv-l2_reg": (0.045, 0.6),
        "pix-l1_idt": (3.0, 0.7),
        "gan_T": (0.02, 0.3),
        "gan_S": (0.02, 0.2),
    }


MANY = (
    "pixel_criterion: l1, pixel_weight: 1, ms_criterion: multiscale-l1, ms_weight: 1, cx_type: contextual,"
    " cx_weight: 1, tv_type: 4D, tv_norm: 1"
)


@pytest.mark.parametrize(
    ("selectors", "selected"),
    [
        ("surf_losses: [pix]", {"pix-l1_surf"}),
        ("text_losses: [pix-multiscale, tv]", {"pix-multiscale-l1_text", "dtv-l1_text"}),
        ("struct_losses: [l1]", {"pix-l1_struct", "fea-vgg19-l1_struct", "dtv-l1_struct", "pix-multiscale-l1_struct"}),
        ("cont_losses: [fea, vgg19]", {"fea-vgg19-l1_cont"}),
        ("reg_losses: [tv, contextual]", {"dtv-l1_reg", "contextual_reg"}),
        ("idt_losses: [cont], lambda_identity: 2", {"contextual_idt"}),
    ],
)
def test_selectors_are_parts_of_names_in_which_pix_is_not_multiscale(selectors, selected):
    native, errors, _ = translate("wbc", f"train: {{{MANY}, {selectors}}}")
    assert errors == []
    mark = next(iter(selected)).rpartition("_")[2]
    assert {name for name in compared(native) if name.endswith(f"_{mark}")} == selected


def test_what_the_representations_compare():
    every = ", ".join(f"{r}_losses: [pix]" for r in ("surf", "text", "struct", "cont", "reg", "idt"))
    native, errors, _ = translate("wbc", f"train: {{{MANY}, {every}, lambda_identity: 1}}")
    assert errors == []
    found = {name: of_to[:2] for name, of_to in compared(native).items()}
    assert {name.partition("_")[2]: images for name, images in found.items() if name.startswith("pix-l1")} == {
        "surf": ("fake_blur", "real_blur"),
        "text": ("fake_gray", "real_gray"),
        "struct": ("fake_B", "superpixels"),
        "cont": ("fake_B", "real_A"),
        "reg": ("fake_B", "real_B"),
        "idt": ("idt_B", "real_B"),
    }


@pytest.mark.parametrize("off", ["struct_losses: []", "struct_scale: 0", "struct_losses: [fea], struct_scale: 0.0"])
def test_without_structure_there_are_no_superpixels(off):
    native, errors, _ = translate("wbc", f"train: {{{off}}}")
    assert errors == []
    assert plain(native["model"]) == {"type": "wbc", "structure": False}
    assert "superpixels" not in {of_to[1] for of_to in compared(native).values()}


def test_a_loss_that_nothing_selects_is_noted_at_its_line():
    text = text_of("wbc", "train: {reg_losses: [], color_criterion: color-l1, color_weight: 1}")
    _, errors, notes = native_of(text)
    lines = {t.strip().split(":")[0]: f"run.yml:{i}" for i, t in enumerate(text.splitlines(), 1)}
    assert errors == []
    assert len(notes) == 2
    for note, key, name in zip(notes, ("tv_type", "color_criterion"), ("tv-l2", "color-l1"), strict=True):
        assert note.startswith(f"{lines[key]}: {name} is selected by none of surf_losses, ")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("lambda_identity: 0.5", "lambda_identity has no effect, as there is no loss pix; idt_losses names others"),
        ("idt_losses: [fea]", "idt_losses has no effect, as lambda_identity is 0"),
        ("surf_losses: [tv], surface_scale: 0", "surf_losses has no effect, as surface_scale is 0"),
        ("feature_weight: 0, content_scale: 2", "content_scale has no effect, as there is no loss fea"),
    ],
)
def test_selectors_and_scales_without_each_other_are_noted(keys, says):
    _, errors, notes = translate("wbc", f"train: {{{keys}}}")
    assert errors == []
    assert len(notes) == 1
    assert says in notes[0]


def test_an_unknown_selector_is_an_error_at_its_line():
    text = text_of("wbc", "train: {cont_losses: [fea, lpips]}")
    line = next(i for i, t in enumerate(text.splitlines(), 1) if "cont_losses" in t)
    assert native_of(text)[1] == [f"run.yml:{line}: cont_losses: there is no loss 'lpips', only fea-vgg19-l1, tv-l2"]


def test_one_critic_sees_colours_and_one_gray():
    native = fine("wbc", "network_D: {spectral_norm: true}")
    assert native["network_D_S"] == {"type": "patchgan", "nf": 4, "n_layers": 2, "spectral_norm": True}
    assert native["network_D_T"] == {**native["network_D_S"], "in_nc": 1}
    assert "network_D" not in native
    assert fine("wbc", "network_D: {in_nc: 3}")["network_D_T"]["in_nc"] == 1
    assert {*planned("wbc").networks} == {"G", "D_S", "D_T"}


def test_options_of_superpixels_are_the_models():
    keys = "sp_algo: SK_SLIC, sp_n_segments: 100, sp_reduction: Cluster, sp_max_size: 300, sp_gamma_range: [100, 130]"
    assert fine("wbc", f"train: {{{keys}}}")["model"] == {
        "type": "wbc", "algorithm": "sk_slic", "segments": 100, "reduction": "cluster", "max_size": 300,
        "gammas": [1.0, 1.3],
    }  # fmt: skip
    assert fine("wbc", "train: {sp_reduction: none}")["model"] == {"type": "wbc", "reduction": None}
    assert planned("wbc", "train: {sp_reduction: none}").model.arguments == {"reduction": None}
    wrong("wbc", "train: {sp_gamma_range: [120, 100]}", "sp_gamma_range: expected two rising numbers above 0")
    with pytest.raises(OptionErrors, match="sp_algo: expected 'sk_felzenszwalb'"):
        planned("wbc", "train: {sp_algo: watershed}")


def test_warm_up_has_a_loss_of_its_own_before_all_others():
    first, *others = fine("wbc", "model: {type: wbc, warm_up: 50}")["losses"]
    assert first == {"name": "warm-up-l1", "type": "l1", "of": "raw", "to": "real_A"}
    assert others == fine("wbc", "model: {type: wbc, warm_up: 0}")["losses"] == fine("wbc")["losses"]


def test_results_of_white_box_cartoonization_are_filtered():
    assert plain(of_test("wbc")[0]["test"]) == {"guided_filter": 0.005}
    for own, value in (("test: {guided_filter: 0.1}", 0.1), ("test: {guided_filter: null}", None)):
        assert of_test("wbc", own)[0]["test"]["guided_filter"] == value
    for model in ("pix2pix", "cyclegan"):
        assert "test" not in of_test(model)[0]
        assert "guided_filter" not in str(fine(model))


# pix2pix


def test_the_critic_of_pix2pix_is_given_the_condition():
    pixel, gan = fine("pix2pix")["losses"]
    assert pixel == {"name": "pix-l1", "type": "l1", "weight": 100.0}
    assert gan == {
        "name": "gan", "type": "gan", "mode": "vanilla", "form": "standard", "weight": 1.0, "given": "input",
    }  # fmt: skip
    assert fine("pix2pix", "pool_size: 50")["losses"][1]["pool"] == 50


@pytest.mark.parametrize(
    ("channels", "given", "made"),
    [
        ("", 3, 3),
        ("image_channels: 3", 3, 3),
        ("image_channels: 1", 1, 1),
        ("input_nc: 1", 1, 3),
        ("output_nc: 1", 3, 1),
    ],
)
def test_channels_of_the_critic_are_those_of_both_images(channels, given, made):
    data = f"datasets: {{train: {{{channels}}}}}, network_G: {{in_nc: {given}, out_nc: {made}}}"
    assert fine("pix2pix", data)["network_D"]["in_nc"] == given + made
    assert fine("pix2pix", f"{data}, network_D: {{in_nc: {given + made}}}")["network_D"]["in_nc"] == given + made
    other = given + made - 1
    says = f"network_D.in_nc: expected {given + made}, the channels of what it judges, found {other}"
    wrong("pix2pix", f"{data}, network_D: {{in_nc: {other}}}", says)


# The form of the adversarial loss


@pytest.mark.parametrize("model", FILES)
def test_the_form_is_that_of_the_papers_unless_it_is_asked_for(model):
    """Rows 4 and 5 of the inventory's 9.1: without a form it crashed, and the relativistic one compared with A."""
    for changes, form in (
        ("", "standard"),
        ("train: {gan_opt: {form: standard}}", "standard"),
        ("train: {gan_opt: {form: relativistic}}", "relativistic"),
    ):
        gans = [e for e in fine(model, changes)["losses"] if e["type"] == "gan"]
        assert [e["form"] for e in gans] == [form] * (1 if model == "pix2pix" else 2)
        plan = planned(model, changes)
        images = {t.name: (t.inputs["fake"], t.inputs["real"]) for t in plan.terms if t.adversarial}
        assert (
            images
            == {
                "pix2pix": {"gan": ("output", "target")},
                "cyclegan": {"gan_A": ("fake_B", "real_B"), "gan_B": ("fake_A", "real_A")},
                "wbc": {"gan_T": ("fake_gray", "real_gray"), "gan_S": ("fake_blur", "real_blur")},
            }[model]
        )


# Training


@pytest.mark.parametrize("model", FILES)
def test_metrics_of_unpaired_images_compare_with_b(model):
    metrics = fine(model, "train: {metrics: 'psnr,fid'}")["validate"]["metrics"]
    of_to = {} if model == "pix2pix" else {"of": "fake_B", "to": "real_B"}
    assert metrics == [{"type": name, "crop_border": 0, **of_to} for name in ("psnr", "fid")]


@pytest.mark.parametrize("model", FILES)
def test_display(model):
    native = fine(model, "train: {display_freq: 1e3, overwrite_disp_imgs: true}")
    assert native["display"] == {"every": 1000, "overwrite": True}
    for off in ("0", "false", "null"):
        assert "display" not in fine(model, f"train: {{display_freq: {off}}}")
    with pytest.raises(OptionErrors, match="display_freq: expected at least 1, found -1"):
        planned(model, "train: {display_freq: -1}")


@pytest.mark.parametrize(
    ("model", "names"),
    [("pix2pix", ("G", "D")), ("cyclegan", ("G_A", "G_B", "D_A", "D_B")), ("wbc", ("G", "D_S", "D_T"))],
)
def test_pretrained_networks(model, names):
    written = ", ".join(f"pretrain_model_{name}: {name}.pth" for name in names)
    plan = planned(model, f"path: {{{written}}}")
    assert plan.path.pretrain == {name: f"{name}.pth" for name in names}
    _, _, (note,) = translate(model, f"path: {{{written}}}, train: {{gan_weight: 0}}")
    assert all(f"pretrain_model_{name}" in note for name in names if name.startswith("D"))


def test_a_method_with_several_networks_of_a_kind_needs_their_names():
    says = "pretrain_model_G: model cyclegan has several; write pretrain_model_G_A and pretrain_model_G_B"
    wrong("cyclegan", "path: {pretrain_model_G: g.pth}", says)
    says = "pretrain_model_D: model wbc has several; write pretrain_model_D_S and pretrain_model_D_T"
    wrong("wbc", "path: {pretrain_model_D: d.pth}", says)


@pytest.mark.parametrize(
    ("model", "changes", "says"),
    [
        *(
            (model, "train: {surf_losses: [pix]}", "surf_losses: belongs to model: wbc")
            for model in ("pix2pix", "cyclegan")
        ),
        ("cyclegan", "train: {sp_algo: sk_slic}", "sp_algo: belongs to model: wbc"),
        ("cyclegan", "train: {surface_scale: 1}", "surface_scale: belongs to model: wbc"),
        ("pix2pix", "train: {lambda_identity: 0.5}", "lambda_identity: belongs to model: cyclegan or wbc"),
        ("wbc", "train: {lambda_A: 2}", "lambda_A: belongs to model: cyclegan"),
        ("pix2pix", "path: {pretrain_model_G_A: a.pth}", "pretrain_model_G_A: belongs to model: cyclegan"),
        ("cyclegan", "path: {pretrain_model_D_S: a.pth}", "pretrain_model_D_S: belongs to model: wbc"),
        ("wbc", "path: {pretrain_model_D_A: a.pth}", "pretrain_model_D_A: belongs to model: cyclegan"),
        ("wbc", "train: {ppon_stages: [1, 2]}", "ppon_stages: belongs to model: ppon"),
        ("pix2pix", "train: {fl_weight: 1}", "fl_weight: belongs to model: srflow"),
        *((model, "scale: 4", f"scale: model {model} keeps the size of images; write 1, not 4") for model in FILES),
        *((model, "use_cem: true", f"use_cem: model {model} has no such option") for model in FILES),
        *((model, "use_unshuffle: true", f"use_unshuffle: model {model} has no such option") for model in FILES),
        *((model, "train: {fs: true}", f"fs: model {model} has no such option") for model in FILES),
        *((model, "train: {mixup: true}", f"mixup: model {model} has no such option") for model in ("cyclegan", "wbc")),
        ("cyclegan", "train: {lambda_B: -1}", "lambda_B: expected 0 or more, found -1"),
        ("wbc", "train: {struct_scale: -0.5}", "struct_scale: expected 0 or more, found -0.5"),
        ("cyclegan", "pool_size: many", "pool_size: expected a whole number, found 'many'"),
        ("pix2pix", "network_D: null", "gan_type: needs a network_D"),
        ("cyclegan", "input_nc: 3", "input_nc: write in_nc in network_G, and input_nc in the datasets"),
    ],
)
def test_what_a_method_does_not_have_is_refused_by_name(model, changes, says):
    wrong(model, changes, says)


@pytest.mark.parametrize("model", FILES)
def test_what_a_method_does_not_have_may_be_off(model):
    off = "use_cem: false, use_atg: false, use_unshuffle: null, use_frequency_separation: false, scale: 1"
    assert fine(model, f"{off}, train: {{fs: false, mixup: false, lpf_type: average}}") == {**fine(model), "scale": 1}


def test_mixup_of_pairs_is_understood():
    assert fine("pix2pix", "train: {mixup: true, mixopts: [cutmix]}")["batch_augment"] == [{"type": "cutmix"}]


def test_a_discriminator_that_is_built_for_one_size_gets_that_of_the_crops():
    changes = "network_D: {which_model_D: discriminator_vgg, n_layers: null}"
    assert fine("cyclegan", changes)["network_D"]["size"] == 32
    assert fine("pix2pix", changes)["network_D"] == {"type": "discriminator_vgg", "nf": 4, "size": 32, "in_nc": 6}
