"""Turn the file of an AveragedModel into plain weights. See python scripts/swa2normal.py --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "codes"))

from darkroom.cli.swa2normal import main

if __name__ == "__main__":
    raise SystemExit(main())
