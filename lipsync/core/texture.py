"""What a texture method is asked, what it answers, and what it is: one file that draws mouths for wanted lips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

from lipsync.core.types import N_LIPS, TargetAnalysis


@dataclass(frozen=True, slots=True)
class TextureQuery:
    """What a texture method is asked to draw: B rows with r = method.radius rows of context on either side.

    lips: (B+2r,18,2) float32 torch, face frame, wanted; crop: (B,3,Hm,Wm) float32 torch in [0,1], the target's own
    mouth under these rows; pose: (B+2r,3) float32 torch, yaw, pitch, roll in degrees of the target frames shown;
    source: (B,) int64 torch, those frames' numbers. "median" reads lips and pose only; crop and source are for methods
    that redraw the target's own mouth. The crop's surroundings are those of the picture to make, its mouth says
    something else. speech: (B+2r,256) float32 torch, what the bundled lip model's LSTM makes of the sound
    (`lipsync.pipelines.models.heard`), for methods that ask for it; None = no sound."""

    lips: object
    crop: object
    pose: object
    source: object
    speech: object = None

    def __post_init__(self) -> None:
        if self.lips.shape[1:] != (N_LIPS, 2) or len(self.lips) < len(self.crop) or len(self.pose) != len(self.lips):
            raise ValueError(
                f"TextureQuery: lips {tuple(self.lips.shape)}, pose {tuple(self.pose.shape)}, crops {tuple(self.crop.shape)}"
            )


@dataclass(frozen=True, slots=True)
class MouthTexture:
    """Drawn mouths. rgb: (B,3,Hm,Wm) float32 torch in [0,1]; alpha: (B,1,Hm,Wm) in [0,1], how much of it the blend
    takes (within its own soft region); jaw: (B,17,2) float32 torch, jaw line of the drawn mouths, face frame."""

    rgb: object
    alpha: object
    jaw: object


class TextureMethod(Protocol):
    """Draws the mouth for wanted lips. Every method is one file of `lipsync/textures/` with one class `Method`."""

    name: str  # the only place the name is written: must equal the file's name, "-" for "_"
    radius: int  # lip rows needed before and after each rendered row

    def __init__(self, config: object) -> None:
        """config: the method's section of `DubConfig`, or None."""

    def prepare(self, subject: TargetAnalysis, device: object) -> Self:
        """The method ready to draw this person: index built, weights loaded."""

    def render(self, query: TextureQuery) -> MouthTexture:
        """The drawn mouths. Pure: no files, no state, no randomness."""
