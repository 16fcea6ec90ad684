"""Make segmentation maps for SFTGAN. See python scripts/test_seg.py --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "codes"))

from darkroom.cli.segment import main

if __name__ == "__main__":
    raise SystemExit(main())
