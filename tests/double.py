"""Train an option file in float64, where another order of sums does not show: double.py FILE SETTING..."""

import os
import sys
from pathlib import Path

import torch
from runs import make


def main(path: str, *settings: str) -> None:
    run = make(Path(path), *settings)
    for network in run.loop.model.networks.values():
        network.double()
    to_unit = run.loop.prepare

    def prepare(batch):
        return {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in to_unit(batch).items()}

    run.loop.prepare = prepare
    run.train()
    run.close()
    os._exit(0)  # as cli/train.py does, and for its reason


if __name__ == "__main__":
    main(*sys.argv[1:])
