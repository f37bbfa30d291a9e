"""LIP-SPADE, which sharpens the generated face (`--use_sr`).

The network only; weights come from models/checkpoints. Source: GHOST's `10_net_G.pth` (doi 10.1109/ACCESS.2022.3196668), of the family of
HiFaceGAN (Yang et al., ACM MM 2020, arXiv:2005.05005): SPADE residual blocks (Park et al., CVPR 2019, arXiv:1903.07291) on an encoder with
local-importance pooling (Gao et al., ICCV 2019, arXiv:1908.04156). GHOST runs it in train mode, where a face's result depends on its
neighbours in the batch; here every face is normalised by its own statistics, which is train mode with a batch of one.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

ENCODER_CHANNELS = (48, 96, 192, 384, 768, 768)  # each step halves the side
UPS_CHANNELS = (768, 384, 192, 96, 48)  # into and out of ups.0 to ups.3; each doubles the side
LARGEST_SHARED = 128  # channels of the hidden layer of a SPADE norm, at most
IMPORTANCE = 12.0  # logarithm of the largest ratio of two pixels' weights in local-importance pooling
NEGATIVE_SLOPE = 0.2
SMALLEST_LENGTH = 1e-12  # torch.nn.utils.spectral_norm's eps
# In the checkpoint, but without a part in the result.
UNUSED_IN_CHECKPOINT = ("fc.", "to_rgbs.0.", "to_rgbs.1.", "to_rgbs.2.")


class SpectralConv2d(nn.Module):
    """A convolution whose kernel is divided by its largest singular value, which one power iteration from `weight_u` estimates.

    The arithmetic of torch.nn.utils.spectral_norm at its first call in train mode, and the same at every later call.
    """

    def __init__(self, c_in: int, c_out: int, kernel_px: int, bias: bool = True) -> None:
        super().__init__()
        self.weight_orig = nn.Parameter(torch.empty(c_out, c_in, kernel_px, kernel_px))
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None
        self.register_buffer("weight_u", torch.empty(c_out))
        # The checkpoint's other vector; the iteration makes a new one from `weight_u` before it would be read.
        self.register_buffer("weight_v", torch.empty(c_in * kernel_px**2))

    def normalised_weight(self) -> Tensor:
        """(c_out, c_in, K, K)."""
        matrix = self.weight_orig.flatten(1)  # (c_out, c_in * K * K)
        right = functional.normalize(matrix.T @ self.get_buffer("weight_u"), dim=0, eps=SMALLEST_LENGTH)
        image = matrix @ right  # (c_out,)
        left = functional.normalize(image, dim=0, eps=SMALLEST_LENGTH)
        return self.weight_orig / torch.dot(left, image)

    def folded(self) -> nn.Conv2d:
        """The plain convolution with the normalised kernel."""
        c_out, c_in, kernel_px, _ = self.weight_orig.shape
        with torch.device("meta"):  # the parameters are replaced at once
            plain = nn.Conv2d(c_in, c_out, kernel_px, padding=kernel_px // 2, bias=self.bias is not None)
        plain.weight = nn.Parameter(self.normalised_weight().detach(), requires_grad=False)
        plain.bias = self.bias
        return plain.train(self.training)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H, W)."""
        padding_px = self.weight_orig.shape[-1] // 2
        return functional.conv2d(maps, self.normalised_weight(), self.bias, padding=padding_px)


class ImageNorm(nn.InstanceNorm2d):
    """Normalise every channel of every image by its own mean and variance.

    It has the running statistics of the checkpoint's batch normalisation, but never uses them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False, track_running_stats=True)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return functional.instance_norm(maps, eps=self.eps)


class SpadeNorm(nn.Module):
    """Normalise activations, then scale and shift every pixel by what the guiding picture shows there."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        shared = min(channels, LARGEST_SHARED)
        self.param_free_norm = ImageNorm(channels)
        self.mlp_shared = nn.Sequential(nn.Conv2d(3, shared, kernel_size=3, padding=1), nn.ReLU(inplace=True))
        self.mlp_gamma = nn.Conv2d(shared, channels, kernel_size=3, padding=1, bias=False)
        self.mlp_beta = nn.Conv2d(shared, channels, kernel_size=3, padding=1, bias=False)

    def forward(self, maps: Tensor, guide: Tensor) -> Tensor:
        """(N, C, H, W) and (N, 3, H, W) -> (N, C, H, W)."""
        shared = self.mlp_shared(guide)  # (N, shared, H, W)
        # GHOST multiplies by gamma itself, not by one plus gamma as SPADE does.
        return torch.addcmul(self.mlp_beta(shared), self.mlp_gamma(shared), self.param_free_norm(maps))


class SpadeBlock(nn.Module):
    """A residual block of two SPADE norms with convolutions, and a third of each on the shortcut where the channels change."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        middle = min(c_in, c_out)
        self.conv_0: nn.Module = SpectralConv2d(c_in, middle, 3)
        self.conv_1: nn.Module = SpectralConv2d(middle, c_out, 3)
        self.norm_0, self.norm_1 = SpadeNorm(c_in), SpadeNorm(middle)
        self.conv_s: nn.Module | None = SpectralConv2d(c_in, c_out, 1, bias=False) if c_in != c_out else None
        self.norm_s = SpadeNorm(c_in) if c_in != c_out else None

    def forward(self, maps: Tensor, picture: Tensor) -> Tensor:
        """(N, c_in, H, W) and (N, 3, any, any) -> (N, c_out, H, W)."""
        guide = functional.interpolate(picture, size=maps.shape[-2:], mode="nearest")  # (N, 3, H, W)
        shortcut = maps
        if self.conv_s is not None and self.norm_s is not None:
            shortcut = self.conv_s(self.norm_s(maps, guide))
        inner = self.conv_0(functional.leaky_relu(self.norm_0(maps, guide), NEGATIVE_SLOPE, inplace=True))
        inner = self.conv_1(functional.leaky_relu(self.norm_1(inner, guide), NEGATIVE_SLOPE, inplace=True))
        return inner + shortcut


class LocalImportancePooling(nn.Module):
    """Halve the side by a mean over 3x3 pixels that is weighted by their importance."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.logit = nn.Sequential(convolution, nn.InstanceNorm2d(channels, affine=True))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H / 2, W / 2)."""
        # The weights span exp(12), more than half precision holds; a common factor cancels, exp(-12) keeps them at 1 or below.
        weight = torch.exp(IMPORTANCE * (torch.sigmoid(self.logit(maps).float()) - 1.0))
        pool = nn.AvgPool2d(kernel_size=3, stride=2, padding=1)
        return (pool(maps.float() * weight) / pool(weight)).to(maps.dtype)


class LipEncoder(nn.Module):
    """Five steps of local-importance pooling and convolution."""

    def __init__(self) -> None:
        super().__init__()
        first = ENCODER_CHANNELS[0]
        stem = nn.Conv2d(3, first, kernel_size=3, padding=1, bias=False)
        members: list[nn.Module] = [stem, nn.InstanceNorm2d(first), nn.ReLU(inplace=True)]
        for c_in, c_out in pairwise(ENCODER_CHANNELS):
            convolution = nn.Conv2d(c_in, c_out, kernel_size=3, padding=1)
            members += [LocalImportancePooling(c_in), convolution, nn.InstanceNorm2d(c_out), nn.ReLU(inplace=True)]
        self.model = nn.Sequential(*members[:-1])  # no ReLU at the end

    def forward(self, picture: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 768, H / 32, W / 32)."""
        return self.model(picture)


class LipSpadeGenerator(nn.Module):
    """Encoder, and a decoder guided by the picture itself; 72 M parameters.

    Its parameters have the names of the checkpoint, less those that are unused, until `fold_spectral_norms` takes the spectral norm out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lip_encoder = LipEncoder()
        widest = UPS_CHANNELS[0]
        self.head_0 = SpadeBlock(widest, widest)
        self.G_middle_0 = SpadeBlock(widest, widest)
        self.G_middle_1 = SpadeBlock(widest, widest)
        self.ups = nn.ModuleList(SpadeBlock(c_in, c_out) for c_in, c_out in pairwise(UPS_CHANNELS))
        last = str(len(self.ups) - 1)
        self.to_rgbs = nn.ModuleDict({last: nn.Conv2d(UPS_CHANNELS[-1], 3, kernel_size=3, padding=1)})

    def forward(self, picture: Tensor) -> Tensor:
        """Sharpen.

        Args:
            picture: (N, 3, 256, 256) RGB in [0, 1].

        Returns:
            (N, 3, 256, 256) RGB in [-1, 1], of which [0, 1] is the picture: clamp. No image depends on the others.
        """
        maps = self.head_0(self.lip_encoder(picture), picture)  # (N, 768, 8, 8)
        maps = functional.interpolate(maps, scale_factor=2, mode="nearest")  # (N, 768, 16, 16)
        maps = self.G_middle_1(self.G_middle_0(maps, picture), picture)
        for block in self.ups:
            maps = block(functional.interpolate(maps, scale_factor=2, mode="nearest"), picture)
        (to_rgb,) = self.to_rgbs.values()  # maps: (N, 48, 256, 256)
        return torch.tanh(to_rgb(functional.leaky_relu(maps, NEGATIVE_SLOPE)))


def fold_spectral_norms(network: nn.Module) -> None:
    """Put a plain convolution with the normalised kernel in the place of every `SpectralConv2d`: same results, less work."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, SpectralConv2d):
                setattr(module, name, child.folded())
