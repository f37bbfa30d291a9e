"""Adaptive attentional denormalisation: how AEI-Net's generator mixes the target's attributes with the source's identity.

Layers only; no weights, no files. Source: Li et al., FaceShifter, CVPR 2020, arXiv:1912.13457, section 3.1, in the arrangement of
GHOST (Groshev et al., IEEE Access 10, 2022, doi 10.1109/ACCESS.2022.3196668), whose parameter names these modules bear.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AADLayer(nn.Module):
    """Normalise activations per image and channel, then give them back a scale and a shift from both sources.

    Args:
        channels: C, of the activations.
        attribute_channels: A, of the attribute map.
        c_id: D, length of the identity vector.
    """

    def __init__(self, channels: int, attribute_channels: int, c_id: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels, affine=False)
        self.conv1 = nn.Conv2d(attribute_channels, channels, kernel_size=1)  # scale by attributes
        self.conv2 = nn.Conv2d(attribute_channels, channels, kernel_size=1)  # shift by attributes
        self.fc1 = nn.Linear(c_id, channels)  # scale by identity
        self.fc2 = nn.Linear(c_id, channels)  # shift by identity
        self.conv_h = nn.Conv2d(channels, 1, kernel_size=1)  # where identity wins

    def forward(self, activation: Tensor, attribute: Tensor, identity: Tensor) -> Tensor:
        """Denormalise.

        Args:
            activation: (N, C, H, W).
            attribute: (N, A, H, W).
            identity: (N, D), raw.

        Returns:
            (N, C, H, W).
        """
        normalised = self.norm(activation)  # (N, C, H, W)
        by_attribute = torch.addcmul(self.conv2(attribute), self.conv1(attribute), normalised)  # (N, C, H, W)
        scale, shift = self.fc1(identity)[..., None, None], self.fc2(identity)[..., None, None]  # (N, C, 1, 1) each
        by_identity = torch.addcmul(shift, scale, normalised)  # (N, C, H, W)
        return torch.lerp(by_attribute, by_identity, torch.sigmoid(self.conv_h(normalised)))  # weight (N, 1, H, W)


class AADSequence(nn.ModuleList):
    """`num_blocks` times AAD layer, ReLU, 3x3 convolution; the last convolution changes the channels."""

    def __init__(self, c_in: int, c_out: int, attribute_channels: int, c_id: int, num_blocks: int) -> None:
        members: list[nn.Module] = []
        for block in range(num_blocks):
            width = c_out if block == num_blocks - 1 else c_in
            members += [
                AADLayer(c_in, attribute_channels, c_id),
                nn.ReLU(inplace=True),
                nn.Conv2d(c_in, width, kernel_size=3, padding=1, bias=False),
            ]
        super().__init__(members)

    def forward(self, activation: Tensor, attribute: Tensor, identity: Tensor) -> Tensor:
        """(N, c_in, H, W), (N, A, H, W), (N, D) -> (N, c_out, H, W)."""
        for member in self:
            activation = member(activation, attribute, identity) if isinstance(member, AADLayer) else member(activation)
        return activation


class AADBlock(nn.Module):
    """A residual block of AAD layers; where the channels change, the shortcut is one AAD layer with its convolution.

    Args:
        c_in: channels of the activations that come in.
        c_out: channels of those that go out.
        attribute_channels: A, of the attribute map.
        c_id: D, length of the identity vector.
        num_blocks: AAD layers on the main path.
    """

    def __init__(self, c_in: int, c_out: int, attribute_channels: int, c_id: int, num_blocks: int) -> None:
        super().__init__()
        self.add_blocks = AADSequence(c_in, c_out, attribute_channels, c_id, num_blocks)
        self.last_add_block = AADSequence(c_in, c_out, attribute_channels, c_id, 1) if c_in != c_out else None

    def forward(self, activation: Tensor, attribute: Tensor, identity: Tensor) -> Tensor:
        """(N, c_in, H, W), (N, A, H, W), (N, D) -> (N, c_out, H, W)."""
        shortcut = activation
        if self.last_add_block is not None:
            shortcut = self.last_add_block(activation, attribute, identity)
        return self.add_blocks(activation, attribute, identity) + shortcut
