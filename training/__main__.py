"""python -m training lips --recipe prior [-o FILE] [--work FOLDER]: makes a bundled model again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m training", description="Train a model that ships with lipsync.")
    options.add_argument("what", choices=["lips"], help="lips: speech to lips")
    options.add_argument("--recipe", default="prior", help="a file of training/recipes, or a .toml file")
    options.add_argument("-o", "--out", type=Path, help="the model to write (default: RECIPE.safetensors)")
    options.add_argument("--work", type=Path, default=Path("work"), help="folder for all that is made on the way, used again (default: work)")
    options.add_argument("--workers", type=int, default=2, help="processes that make speech")
    args = options.parse_args()

    from lipsync.errors import LipsyncError
    from lipsync.hooks import Bars, Lines
    from training.prior import PriorRecipe, make_prior

    try:
        recipe = PriorRecipe.load(args.recipe)
        with Bars(sys.stderr) if sys.stderr.isatty() else Lines(sys.stderr) as hook:
            model = make_prior(recipe, args.work, hook, args.workers)
    except LipsyncError as trouble:
        raise SystemExit(f"lipsync: {trouble}") from None
    import torch

    out = args.out or Path(f"{Path(args.recipe).stem}.safetensors")
    model.save(out, {"recipe": Path(args.recipe).stem}, torch.float16)
    print(f"{out}: {model.report}")


if __name__ == "__main__":
    main()
