"""Who may import whom, and what may be imported at all before it is used."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from runs import ROOT, environment

PACKAGE = ROOT / "codes" / "darkroom"
FILES = sorted(PACKAGE.rglob("*.py"))
ALLOWED = {
    "core": set(),
    "config": {"core"},
    "archs": {"core", "filters"},
    "losses": {"core", "archs.vgg", "archs.lpips", "archs.dists", "filters"},
    "metrics": {"core", "archs.vgg", "archs.lpips", "archs.dists", "filters"},
    "filters": {"core"},
    "data": {"core", "filters"},
    "optim": {"core"},
    "models": {"core", "filters"},
    "engine": {"core"},
    "inference": {"core", "data", "filters"},
    "build": {
        "core",
        "config",
        "archs",
        "losses",
        "metrics",
        "filters",
        "data",
        "optim",
        "models",
        "engine",
        "inference",
        "ui",
    },
    "tools": {"core", "data", "filters", "inference"},
    "ui": {"core", "data"},  # a page over a protocol: it knows images, and no model; cli joins it with what build makes
    "cli": {"core", "build", "tools", "ui"},
}
HEAVY = ("torchvision", "spandrel", "skimage", "torchmetrics", "tensorboard", "pytorch_optimizer", "onnx", "scipy")


def imports(file: Path, *, top_only: bool = False):
    """Dotted names that a file imports; ours begin with a dot-less path inside the package."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = tree.body if top_only else ast.walk(tree)
    package = file.relative_to(PACKAGE).parts[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield f"darkroom.{stem}" if stem else "darkroom"
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_run_one_way(file):
    layer = file.relative_to(PACKAGE).parts[0]
    if layer.endswith(".py"):
        return
    for name in imports(file):
        if not name.startswith("darkroom."):
            continue
        target = name.removeprefix("darkroom.")
        inside = target.split(".")[0] == layer
        allowed = any(target == a or target.startswith(f"{a}.") for a in ALLOWED[layer])
        assert inside or allowed, f"{file}: {layer} must not import {target}"


def test_every_layer_was_seen():
    assert {f.relative_to(PACKAGE).parts[0] for f in FILES if len(f.relative_to(PACKAGE).parts) > 1} == {*ALLOWED}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_nothing_heavy_at_the_top_of_a_module(file):
    for name in imports(file, top_only=True):
        assert name.split(".")[0] not in HEAVY, f"{file} imports {name} before it is used"


def test_no_wildcards_hasattr_or_eval():
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            assert called not in ("hasattr", "eval", "exec"), f"{file}:{node.lineno}"
            assert not (isinstance(node, ast.ImportFrom) and node.names[0].name == "*"), f"{file}:{node.lineno}"


def test_help_imports_neither_torch_nor_the_package():
    code = (
        "import sys; from darkroom.cli import train\n"
        "try: train.main(['--help'])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules and 'yaml' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "examples:" in done.stdout


def test_planning_imports_nothing_heavy(tmp_path):
    from runs import native, write

    path = write(tmp_path / "o.yml", native(tmp_path))
    code = (
        "import sys; from pathlib import Path; from darkroom.build.plan import plan_training, read_options\n"
        f"plan_training(read_options(Path({str(path)!r})))\n"
        f"found = [m for m in {HEAVY!r} if m in sys.modules]\nassert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_loop_is_small():
    lines = (PACKAGE / "engine" / "loop.py").read_text(encoding="utf-8").splitlines()
    tree = ast.parse("\n".join(lines))
    loop = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Loop")
    assert loop.end_lineno - loop.lineno < 150


def test_functions_fit_a_screen():
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 50, f"{file}:{node.lineno} {node.name}"
            if isinstance(node, ast.ClassDef):
                assert node.end_lineno - node.lineno < 200, f"{file}:{node.lineno} {node.name}"


def test_python_3_10_evaluates_what_pydantic_reads():
    """There a bare ClassVar cannot be, so no training could start."""
    for path in (ROOT / "codes").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "__pydantic" not in text or not re.search(r": ClassVar\s*=", text), path
