"""python -m training lips|speech-encoder|encoder|voice|blend [--recipe NAME] [-o FILE] [--work FOLDER]: makes a bundled
model again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m training", description="Train a model that ships with lipsync.")
    options.add_argument(
        "what",
        choices=list(MADE),
        help="lips: speech to lips; speech-encoder: what they hear; encoder: the mouth encoder; voice: who is heard "
        "speaking; blend: the blending network",
    )
    options.add_argument("--recipe", help="a file of training/recipes, or a .toml file (default: prior, ...)")
    options.add_argument("-o", "--out", type=Path, help="the model to write (default: RECIPE.safetensors)")
    options.add_argument(
        "--work",
        type=Path,
        default=Path("work"),
        help="folder for all that is made on the way, used again (default: work)",
    )
    options.add_argument("--workers", type=int, default=2, help="processes that make speech")
    args = options.parse_args()

    from lipsync.core.errors import LipsyncError
    from lipsync.core.progress import Bars, Lines

    default, make = MADE[args.what]
    recipe = args.recipe or default
    out = args.out or Path(f"{Path(recipe).stem}.safetensors")
    try:
        with Bars(sys.stderr) if sys.stderr.isatty() else Lines(sys.stderr) as hook:
            summary = make(recipe, args, out, hook)
    except LipsyncError as trouble:
        raise SystemExit(f"lipsync: {trouble}") from None
    print(f"{out}: {summary}")


def _lips(recipe: str, args: argparse.Namespace, out: Path, hook) -> object:
    import torch

    from media.atomic import atomic_write
    from training.prior import PriorRecipe, make_prior

    model = make_prior(PriorRecipe.load(recipe), args.work, hook, args.workers)
    with atomic_write(out) as part:
        model.save(part, {"recipe": Path(recipe).stem}, torch.float16)
    return model.report


def _speech_encoder(recipe: str, args: argparse.Namespace, out: Path, hook) -> object:
    from training.speech_encoder import SpeechEncoderRecipe, make_speech_encoder

    made = SpeechEncoderRecipe.load(recipe)
    make_speech_encoder(made, args.work, hook, args.workers).save(out, {"recipe": Path(recipe).stem})
    return made


def _encoder(recipe: str, args: argparse.Namespace, out: Path, hook) -> object:
    from training.mouth_encoder import EncoderRecipe, make_encoder

    made = EncoderRecipe.load(recipe)
    make_encoder(made, args.work, hook).save(out, {"recipe": Path(recipe).stem})
    return made


def _voice(recipe: str, args: argparse.Namespace, out: Path, hook) -> object:
    from training.voice import VoiceRecipe, make_voice

    made = VoiceRecipe.load(recipe)
    make_voice(made, args.work, hook).save(out, {"recipe": Path(recipe).stem})
    return made


def _blend(recipe: str, args: argparse.Namespace, out: Path, hook) -> object:
    from training.blend import BlendRecipe, make_blend

    made = BlendRecipe.load(recipe)
    make_blend(made, args.work, hook).save(out, {"recipe": Path(recipe).stem})
    return made


#: What can be made: the recipe of the bundled one, and how.
MADE = {
    "lips": ("prior", _lips),
    "speech-encoder": ("speech-encoder", _speech_encoder),
    "encoder": ("mouth-encoder", _encoder),
    "voice": ("voice", _voice),
    "blend": ("blend", _blend),
}


if __name__ == "__main__":
    main()
