"""What a texture method is asked, what it answers, and what it is: one file that draws mouths for wanted lips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, Self

from lipsync.core.arrays import Array
from lipsync.core.types import N_LIPS, TargetAnalysis

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: What a query may hold beside lips and pose; each is computed only for methods that need it.
Need = Literal["crop", "speech", "shown"]


@dataclass(frozen=True, slots=True)
class Shown:
    """What compositing takes of B drawn mouths, face frame: what lies inside one of the `polygons` (B,P,2) or nearer to
    it than its `margins` (eye distances), once the drawn jaw line is brought onto `jaw` (B,17,2), no farther than
    `limit`. Elsewhere a method may draw roughly."""

    polygons: tuple[Array, ...]
    margins: tuple[float, ...]
    jaw: Array
    limit: float


@dataclass(frozen=True, slots=True)
class TextureQuery:
    """What a texture method is asked to draw: B rows with r = method.radius rows of context on either side.

    lips: (B+2r,18,2) float32, face frame, wanted; pose: (B+2r,3) float32, yaw, pitch, roll in degrees of the target
    frames. Only for methods that need them, else None: crop: (B,3,Hm,Wm) float32 in [0,1], the target's own mouth under
    these rows, whose surroundings are those of the picture to make and whose mouth says something else; speech:
    (B+2r,256) float32, what the bundled lip model's LSTM makes of the sound
    (`lipsync.speech.predict.speech_embedding`), None also where there is no sound; shown: what is
    taken of the B mouths, None also where all of it counts.
    """

    lips: Tensor
    pose: Tensor
    crop: Tensor | None = None
    speech: Tensor | None = None
    shown: Shown | None = None

    @property
    def own_crop(self) -> Tensor:
        """The crop, for methods that need it."""
        if self.crop is None:
            raise ValueError("TextureQuery: no crop; the method's `needs` lacks it")
        return self.crop

    def __post_init__(self) -> None:
        if self.lips.shape[1:] != (N_LIPS, 2) or len(self.pose) != len(self.lips):
            raise ValueError(f"TextureQuery: lips {tuple(self.lips.shape)}, pose {tuple(self.pose.shape)}")


@dataclass(frozen=True, slots=True)
class MouthTexture:
    """Drawn mouths. rgb: (B,3,Hm,Wm) float32 in [0,1]; alpha: (B,1,Hm,Wm) in [0,1], how much of it the blend takes
    (within its own soft region); jaw: (B,17,2) float32, jaw line of the drawn mouths, face frame."""

    rgb: Tensor
    alpha: Tensor
    jaw: Tensor


class TextureMethod(Protocol):
    """Draws the mouth for wanted lips. Every method is one file of `lipsync/textures/methods/`, or of a user's own,
    with one class `Method`."""

    name: str  # the only place the name is written: must equal the file's name, "-" for "_"
    needs: frozenset[Need]  # what the query must hold beside lips and pose
    radius: int  # lip rows needed before and after each rendered row; fixed once prepared

    def __init__(self, config: object) -> None:
        """config: the method's section of `DubConfig`, or None."""

    def prepare(self, subject: TargetAnalysis, device: torch.device | str) -> Self:
        """The method ready to draw this person: index built, weights loaded."""
        ...

    def render(self, query: TextureQuery) -> MouthTexture:
        """The drawn mouths. Pure: no files, no state, no randomness."""
        ...
