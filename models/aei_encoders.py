"""AEI-Net's attribute encoders: what of a target face is to stay (pose, expression, light, background), at eight scales.

Layers only; no weights, no files. Source: GHOST (Groshev et al., IEEE Access 10, 2022, doi 10.1109/ACCESS.2022.3196668), whose parameter
names these modules bear. Only the unet was ever released; linknet and resnet follow the original's code.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Backbone = Literal["unet", "linknet", "resnet"]
BACKBONES: tuple[Backbone, ...] = ("unet", "linknet", "resnet")

CONV_CHANNELS = (32, 64, 128, 256, 512, 1024, 1024)  # conv1 to conv7; each halves the side
STEM_CHANNELS = 64
BOTTLENECK_PLANES = (32, 64, 128, 256, 512, 256)  # layer1 to layer6; each halves the side
BOTTLENECKS_PER_LAYER = 2
EXPANSION = 4
NEGATIVE_SLOPE = 0.1  # of every LeakyReLU


def double_size(maps: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2H, 2W), bilinear, the corner pixels staying in the corners."""
    return functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=True)


def build_encoder(backbone: Backbone) -> SkipEncoder | ResnetEncoder:
    """The encoder of that name.

    Raises:
        ValueError: if there is none.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"backbone {backbone!r} is none of {', '.join(BACKBONES)}")
    return ResnetEncoder() if backbone == "resnet" else SkipEncoder(concatenate=backbone == "unet")


class UpsamplingBlock(nn.Module):
    """Double the side of a feature map."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c_in, c_out, kernel_size=4, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, 2H, 2W)."""
        return functional.leaky_relu(self.bn(self.deconv(maps)), NEGATIVE_SLOPE, inplace=True)


class SkipEncoder(nn.Module):
    """The unet and the linknet: seven convolutions down, six up, each joined with its counterpart.

    Args:
        concatenate: True for the unet, which puts the two side by side (upsampled first); the linknet adds them.
    """

    def __init__(self, concatenate: bool) -> None:
        super().__init__()
        self.concatenate = concatenate
        joined = 2 if concatenate else 1  # how much wider a map is once it is joined
        for step, (c_in, c_out) in enumerate(zip((3, *CONV_CHANNELS), CONV_CHANNELS, strict=False), start=1):
            convolution = nn.Conv2d(c_in, c_out, kernel_size=4, stride=2, padding=1, bias=False)
            block = nn.Sequential(convolution, nn.BatchNorm2d(c_out), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True))
            self.add_module(f"conv{step}", block)
        c_in = CONV_CHANNELS[-1]
        attribute_channels = [c_in]
        for step, c_out in enumerate(reversed(CONV_CHANNELS[:-1]), start=1):
            self.add_module(f"deconv{step}", UpsamplingBlock(c_in, c_out))
            c_in = joined * c_out
            attribute_channels.append(c_in)
        self.attribute_channels = (*attribute_channels, c_in)

    def forward(self, target: Tensor) -> tuple[Tensor, ...]:
        """Take a target face apart.

        Args:
            target: (N, 3, 256, 256) RGB in [-1, 1].

        Returns:
            Eight maps with `attribute_channels` channels, sides 2, 4, 8, ... 256.
        """
        maps = target
        going_down = []
        for step in range(1, len(CONV_CHANNELS) + 1):
            maps = self.get_submodule(f"conv{step}")(maps)
            going_down.append(maps)  # (N, 32, 128, 128), (N, 64, 64, 64), ... (N, 1024, 2, 2)
        attributes = [going_down.pop()]
        for step, skipped in enumerate(reversed(going_down), start=1):
            maps = self.get_submodule(f"deconv{step}")(maps)
            maps = torch.cat((maps, skipped), dim=1) if self.concatenate else maps + skipped
            attributes.append(maps)  # (N, 1024 or 2048, 4, 4), ... (N, 32 or 64, 128, 128)
        return (*attributes, double_size(maps))


class Bottleneck(nn.Module):
    """A residual block of 1x1, 3x3 and 1x1 convolutions; the first one has the stride (He et al., arXiv:1512.03385)."""

    def __init__(self, c_in: int, planes: int, stride: int) -> None:
        super().__init__()
        c_out = planes * EXPANSION
        self.conv1 = nn.Conv2d(c_in, planes, kernel_size=1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, c_out, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or c_in != c_out:
            projection = nn.Conv2d(c_in, c_out, kernel_size=1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(c_out))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, 4 * planes, H / stride, W / stride)."""
        inner = functional.relu(self.bn1(self.conv1(maps)), inplace=True)
        inner = functional.relu(self.bn2(self.conv2(inner)), inplace=True)
        return functional.relu(self.bn3(self.conv3(inner)) + self.downsample(maps), inplace=True)


class ResnetEncoder(nn.Module):
    """The resnet: only downward; every stage is an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, STEM_CHANNELS, kernel_size=7, padding=3, bias=False)
        self.bn0 = nn.BatchNorm2d(STEM_CHANNELS)
        self.conv1 = nn.Conv2d(STEM_CHANNELS, STEM_CHANNELS, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        channels = [STEM_CHANNELS, STEM_CHANNELS]
        for step, planes in enumerate(BOTTLENECK_PLANES, start=1):
            first = Bottleneck(channels[-1], planes, stride=2)
            others = [Bottleneck(planes * EXPANSION, planes, stride=1) for _ in range(BOTTLENECKS_PER_LAYER - 1)]
            self.add_module(f"layer{step}", nn.Sequential(first, *others))
            channels.append(planes * EXPANSION)
        self.attribute_channels = tuple(reversed(channels))

    def forward(self, target: Tensor) -> tuple[Tensor, ...]:
        """Take a target face apart.

        Args:
            target: (N, 3, 256, 256) RGB in [-1, 1].

        Returns:
            Eight maps with `attribute_channels` channels, sides 2, 4, 8, ... 256.
        """
        maps = functional.relu(self.bn0(self.conv0(target)), inplace=True)
        going_down = [maps]  # (N, 64, 256, 256)
        maps = functional.relu(self.bn1(self.conv1(maps)), inplace=True)
        going_down.append(maps)  # (N, 64, 128, 128)
        for step in range(1, len(BOTTLENECK_PLANES) + 1):
            maps = self.get_submodule(f"layer{step}")(maps)
            going_down.append(maps)  # (N, 128, 64, 64), (N, 256, 32, 32), ... (N, 1024, 2, 2)
        return tuple(reversed(going_down))
