"""AEI-Net, GHOST's generator: a target face with the identity of a source.

The network only; weights come from models/checkpoints. Source: Groshev et al., GHOST, IEEE Access 10, 2022,
doi 10.1109/ACCESS.2022.3196668, after Li et al., FaceShifter, CVPR 2020, arXiv:1912.13457. Parameter names and shapes are those of the
released checkpoints `G_unet_{1,2,3}block(s).pth`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.aad import AADBlock
from models.aei_encoders import Backbone, build_encoder, double_size

IDENTITY_SIZE = 512  # length of IResNet-100's vector
FACE_PX = 256  # side of target and image
NUM_BLOCKS = (1, 2, 3)
# Channels into and out of AADBlk1 to AADBlk8, at sides 2, 4, 8, ... 256.
BLOCK_CHANNELS = (1024, 1024, 1024, 1024, 512, 256, 128, 64, 3)


class AADGenerator(nn.Module):
    """Builds the image from the identity up, each block taking in one attribute map.

    Args:
        attribute_channels: of the eight maps, from the smallest to the largest.
        c_id: D, length of the identity vector.
        num_blocks: AAD layers in a block.
    """

    def __init__(self, attribute_channels: Sequence[int], c_id: int, num_blocks: int) -> None:
        super().__init__()
        self.up1 = nn.ConvTranspose2d(c_id, BLOCK_CHANNELS[0], kernel_size=2)
        widths = zip(BLOCK_CHANNELS, BLOCK_CHANNELS[1:], attribute_channels, strict=False)
        for step, (c_in, c_out, c_attribute) in enumerate(widths, start=1):
            self.add_module(f"AADBlk{step}", AADBlock(c_in, c_out, c_attribute, c_id, num_blocks))

    def forward(self, attributes: Sequence[Tensor], identity: Tensor) -> Tensor:
        """Eight attribute maps and (N, D) -> (N, 3, 256, 256) RGB in [-1, 1]."""
        activation = self.up1(identity[..., None, None])  # (N, 1024, 2, 2)
        for step, attribute in enumerate(attributes, start=1):
            if step > 1:
                activation = double_size(activation)
            activation = self.get_submodule(f"AADBlk{step}")(activation, attribute, identity)
        return torch.tanh(activation)


class AEI_Net(nn.Module):
    """Encoder and generator.

    Args:
        backbone: of the encoder: `unet`, `linknet` or `resnet`.
        num_blocks: AAD layers in each block of the generator: 1, 2 or 3.
        c_id: D, length of the identity vector.

    Raises:
        ValueError: if there is no such variant.
    """

    def __init__(self, backbone: Backbone, num_blocks: int, c_id: int = IDENTITY_SIZE) -> None:
        super().__init__()
        if num_blocks not in NUM_BLOCKS:
            raise ValueError(f"num_blocks {num_blocks!r} is none of {', '.join(map(str, NUM_BLOCKS))}")
        self.encoder = build_encoder(backbone)
        self.generator = AADGenerator(self.encoder.attribute_channels, c_id, num_blocks)

    def forward(self, target: Tensor, identity: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Swap faces.

        Args:
            target: (N, 3, 256, 256) RGB in [-1, 1], aligned.
            identity: (N, D) of the source, raw (not unit length).

        Returns:
            (N, 3, 256, 256) RGB in [-1, 1], and the eight attribute maps of `target`, sides 2, 4, 8, ... 256.
        """
        attributes = self.encoder(target)
        return self.generator(attributes, identity), attributes


class ImageOnly(nn.Module):
    """AEI-Net without its attribute maps, for formats that have to name what comes out."""

    def __init__(self, network: AEI_Net) -> None:
        super().__init__()
        self.network = network

    def forward(self, target: Tensor, identity: Tensor) -> Tensor:
        """See `AEI_Net`; gives the image."""
        image, _ = self.network(target, identity)
        return image
