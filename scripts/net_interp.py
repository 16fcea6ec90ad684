"""Mix models: the weighted mean of their weights. See python scripts/net_interp.py --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "codes"))

from darkroom.cli.interpolate import main

if __name__ == "__main__":
    raise SystemExit(main())
