"""The reference vectors, each run through the adapter of its family; DARKROOM_GOLDEN_DIR names another folder of them.

A case whose component is not there yet is skipped by name, but in our own folder never one of those in ``COMPLETE``.
"""

import os
import re
from collections import Counter

import numpy as np
import pytest
import torch
from conformance import ADAPTERS, GOLDEN, Case, Missing, load_adapters
from conformance.recipes import Absent, Part

load_adapters()

COMPLETE = {
    *("rrdb", "srresnet", "msrresnet", "srvgg", "espcn", "pan", "a2n", "abpn", "asrresnet", "ppon", "disc"),
    *("loss", "gan", "lpips", "metric", "imresize", "sched", "features", "util_shuffle"),
    *("patchgan", "pixelgan", "multiscale", "unetdisc", "keys_patchgan", "keys_wbc_discriminator"),
    *(
        "cyclegan_resnet",
        "resnet",
        "keys_resnet",
        "pix2pix_unet",
        "keys_unet",
        "wbc_unet",
        "keys_wbcunet",
        "wbc_tf_disc",
    ),
    *("edge_generator", "edge_discriminator", "inpaint_generator", "inpaint_discriminator", "keys_edge_generator"),
    *("keys_inpaint_discriminator", "spectral_norm_transposed", "edgeconnect_adversarial_loss"),
    *("edgeconnect_style_perceptual", "edgeconnect_metrics"),
}
"""Families (sr) and adapter names (i2i) whose cases must all run; add a family when it passes."""
FEWEST = 205
"""Cases in our own folder."""


def _is_case(case):
    data = case.data
    return isinstance(data, dict) and {"inputs", "state_dict"} & set(data) != set()


def _find():
    cases = (Case(path) for path in sorted(GOLDEN.rglob("*.json")) if path.stem != "index")
    return {f"{case.path.parent.name}/{case.path.stem}": case for case in cases if _is_case(case)}


CASES = _find()


def _adapter_name(case):
    """A case's own adapter by its very name; else its family's; else the longest name that its name starts with."""
    name, family = case.path.stem, case.data.get("family")
    if name in ADAPTERS:
        return name
    if family is not None:
        return family
    return max((known for known in ADAPTERS if name.startswith(known)), key=len, default=name)


@pytest.mark.parametrize("name", CASES)
def test_vector(name):
    case = CASES[name]
    component = _adapter_name(case)
    try:
        if component not in ADAPTERS:
            raise Missing(component)
        found = ADAPTERS[component](case)
    except Absent as absent:
        pytest.skip(f"{name}: {absent}")
    except Missing as missing:
        if component in COMPLETE and "DARKROOM_GOLDEN_DIR" not in os.environ:
            pytest.fail(f"{name}: {missing} is missing, though {component} was complete")
        pytest.skip(f"{name}: {missing} does not exist yet")
    assert found, f"{name}: the adapter compares nothing"
    for output, value in found.items():
        _compare(case, name, output, value)


def test_the_folder_has_its_cases():
    if "DARKROOM_GOLDEN_DIR" in os.environ:
        assert CASES, f"no reference vectors below {GOLDEN}"
        return
    assert len(CASES) >= FEWEST
    families = Counter(_adapter_name(case) for case in CASES.values())
    assert not COMPLETE - set(families), "families that were complete have no cases any more"


def _compare(case, name, output, value):
    if output == "keys":
        _compare_keys(case, name, value)
        return
    where = ...
    if isinstance(value, Part):
        value, where = value.value, value.where
    got = _plain(value)
    reference = _reference(case, output)
    if isinstance(reference, (str, bool, dict)) or reference is None:
        assert got == reference, f"{name}: {output}"
        return
    rtol, atol = _tolerance(case, output)
    got = np.asarray(got, dtype=np.float64)
    reference = np.asarray(reference, dtype=np.float64)[where]
    sampling = (case.data.get("output_sampling") or {}).get(output)
    if sampling and got.shape != reference.shape:
        _close(f"{name}: mean of the whole {output}", got.mean(), case.data["outputs"][output]["mean"], rtol, atol)
        _close(f"{name}: deviation of the whole {output}", got.std(), case.data["outputs"][output]["std"], rtol, atol)
        got = got[_slices(sampling)]
    _close(f"{name}: {output}", got, reference, rtol, atol)


def _compare_keys(case, name, keys):
    found = [(key, tuple(shape), str(dtype).removeprefix("torch.")) for key, shape, dtype in keys]
    listed = [(key, tuple(shape), dtype) for key, shape, dtype in case.data["state_dict"]]
    only_ours, only_theirs = sorted(set(found) - set(listed)), sorted(set(listed) - set(found))
    assert (only_ours, only_theirs) == ([], []), f"{name}: keys that only we have, and only the vector has"
    assert found == listed, f"{name}: same keys in another order"


def _reference(case, output):
    """An array of the npz, else a number of ``values``, else a field of the JSON; ``a/b`` goes into nested ones."""
    if output in case.arrays:
        return case.arrays[output]
    node = case.data["values"] if output.split("/")[0] in (case.data.get("values") or {}) else case.data
    for step in output.split("/"):
        assert isinstance(node, (dict, list)), f"{case.path.stem} has no output {output!r}"
        key = int(step) if isinstance(node, list) else step
        assert isinstance(node, list) or key in node, f"{case.path.stem} has no output {output!r}"
        node = node[key]
    return node


def _tolerance(case, output):
    per_output = case.data.get("tolerance_per_output") or {}
    if re.match(r"logs/\d+/", output):
        return case.data["log_rtol_per_step"][int(output.split("/")[1])], 1e-6
    found = per_output.get(output) or case.data.get("tolerance") or {"rtol": 1e-6, "atol": 1e-12}
    return found["rtol"], found["atol"]


def _plain(value):
    return value.detach().cpu().to(torch.float64).numpy() if isinstance(value, torch.Tensor) else value


def _slices(text):
    """``[:, :, ::2, ::2]`` in a sentence -> the slices."""
    inner = re.search(r"\[([-:,\s\d]+)\]", text).group(1)
    return tuple(slice(*(int(n) if n.strip() else None for n in part.split(":"))) for part in inner.split(","))


def _close(what, got, reference, rtol, atol):
    got, reference = np.asarray(got), np.asarray(reference)
    assert got.shape == reference.shape, f"{what} is {got.shape} where the vector is {reference.shape}"
    same = (got == reference) | (np.abs(got - reference) <= atol + rtol * np.abs(reference))
    if same.all():
        return
    excess = np.where(same, 0, np.nan_to_num(np.abs(got - reference), nan=np.inf, posinf=np.inf))
    worst = np.unravel_index(excess.argmax(), excess.shape)
    raise AssertionError(
        f"{what} differs at {(~same).sum()} of {same.size} places, most at {tuple(map(int, worst))}: "
        f"{got[worst]} where the vector has {reference[worst]} (rtol {rtol}, atol {atol})"
    )
