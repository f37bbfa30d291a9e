"""IResNet-100, the network that says who somebody is.

The network only; weights come from models/checkpoints. Source: Deng et al., ArcFace, CVPR 2019, arXiv:1801.07698, with the improved
residual units of Duta et al., arXiv:2004.04989. Parameter names and shapes are those of GHOST's `backbone.pth`. Dropout before the last
layer, of use in training only, is left out.
"""

from __future__ import annotations

from torch import Tensor, nn

STEM_CHANNELS = 64
LAYERS = ((64, 3), (128, 13), (256, 30), (512, 3))  # channels and blocks of layer1 to layer4; each halves the side
FACE_PX = 112
LAST_PX = FACE_PX >> len(LAYERS)
EMBEDDING_SIZE = 512


class IBasicBlock(nn.Module):
    """A residual block: normalise, 3x3 convolution, PReLU, 3x3 convolution with the stride."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.prelu = nn.PReLU(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1:
            projection = nn.Conv2d(c_in, c_out, kernel_size=1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(c_out))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / stride, W / stride)."""
        inner = self.prelu(self.bn2(self.conv1(self.bn1(maps))))
        return self.bn3(self.conv2(inner)) + self.downsample(maps)


class IResNet(nn.Module):
    """Residual network with batch normalisation at both ends of every block.

    Args:
        layers: channels and number of blocks, for each of the stages.
    """

    def __init__(self, layers: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, STEM_CHANNELS, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.prelu = nn.PReLU(STEM_CHANNELS)
        self.stages = [f"layer{step}" for step in range(1, len(layers) + 1)]
        c_in = STEM_CHANNELS
        for stage, (c_out, blocks) in zip(self.stages, layers, strict=True):
            others = [IBasicBlock(c_out, c_out, stride=1) for _ in range(blocks - 1)]
            self.add_module(stage, nn.Sequential(IBasicBlock(c_in, c_out, stride=2), *others))
            c_in = c_out
        self.bn2 = nn.BatchNorm2d(c_in)
        self.fc = nn.Linear(c_in * LAST_PX**2, EMBEDDING_SIZE)
        self.features = nn.BatchNorm1d(EMBEDDING_SIZE)

    def forward(self, face: Tensor) -> Tensor:
        """Embed.

        Args:
            face: (N, 3, 112, 112) RGB in [-1, 1], aligned.

        Returns:
            (N, 512), raw: AEI-Net wants it so; divide by its length for cosine similarity.
        """
        maps = self.prelu(self.bn1(self.conv1(face)))  # (N, 64, 112, 112)
        for stage in self.stages:
            maps = self.get_submodule(stage)(maps)  # (N, 64, 56, 56), ... (N, 512, 7, 7)
        return self.features(self.fc(self.bn2(maps).flatten(1)))


def iresnet100() -> IResNet:
    """The network with 100 layers, 65 M parameters."""
    return IResNet(LAYERS)
