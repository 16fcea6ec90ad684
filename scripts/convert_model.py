"""Rewrite a weights file in another key layout or format. See python scripts/convert_model.py --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "codes"))

from darkroom.cli.convert import main

if __name__ == "__main__":
    raise SystemExit(main())
