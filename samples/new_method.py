"""A texture method of your own, in one file:  lipsync compare TARGET --methods median --method-file
samples/new_method.py -o report/

This one decodes the mouth from the lips with a few layers, into the frame's own surroundings. Also: `lipsync train
texture FILE.py TARGET -o WEIGHTS` and `lipsync dub --texture FILE.py --texture-weights WEIGHTS`. A method that learns
nothing needs only `name`, `needs`, `radius`, `prepare` and `render`: see lipsync/textures/registry.py."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from lipsync.core.texture import TextureQuery
from lipsync.core.types import MouthSpace
from lipsync.textures.nets import Grow, conv, lip_numbers, lower_face, net_size, resized
from lipsync.textures.trainable import LossTerms, Objective, TextureBatch, TrainableTexture


class Method(TrainableTexture):
    name = "new-method"

    def build(self, space: MouthSpace) -> None:
        """The networks: here 39 numbers to a picture in four doublings."""
        self.size = net_size(space, self.config.width)
        self.nets["enter"] = nn.Linear(39, 64 * (self.size[0] // 16) * (self.size[1] // 16))
        self.nets["decoder"] = nn.Sequential(
            Grow(64, 48), Grow(48, 32), Grow(32, 24), Grow(24, 16), conv(16, 16), nn.Conv2d(16, 3, 1)
        )

    def draw(self, query: TextureQuery) -> tuple[torch.Tensor, None]:
        """The picture for the wanted lips; around the part that speech moves, the frame's own."""
        rows = self.nets["enter"](lip_numbers(query.lips, query.pose))
        mouth = torch.sigmoid(self.nets["decoder"](rows.reshape(len(rows), 64, self.size[0] // 16, self.size[1] // 16)))
        region = resized(lower_face(self.space, mouth.device), self.size)
        return torch.lerp(resized(query.own_crop, self.size), mouth.float(), region), None

    def objectives(self, losses: LossTerms) -> Sequence[Objective]:
        """Who learns what: one network, two losses."""

        def loss(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            drawn, _ = self.draw(batch.query)
            truth = resized(batch.truth, self.size)
            return {"l1": losses.l1(drawn, truth), "perceptual": 0.1 * losses.perceptual(drawn, truth)}

        return [Objective("decoder", self.nets, loss, rate=1e-3, betas=(0.9, 0.999))]
