"""Take averaged weights out of a state or a file. See python scripts/extract_average.py --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "codes"))

from darkroom.cli.extract import main

if __name__ == "__main__":
    raise SystemExit(main())
