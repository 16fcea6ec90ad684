"""Train a model: python train.py -opt options/sr/train_sr.yml (see python train.py --help)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "codes"))

from darkroom.cli.train import main

if __name__ == "__main__":
    raise SystemExit(main())
