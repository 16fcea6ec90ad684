"""Run a model over folders: -opt options/sr/test_sr.yml, or -i photos -m model.pth -o out (see --help)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "codes"))

from darkroom.cli.test import main

if __name__ == "__main__":
    raise SystemExit(main())
