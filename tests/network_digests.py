"""Golden numbers of the networks with stand-in weights, and how they are taken.

tests/data/network_digests.json holds, for each network, a hash of its parameter names and shapes, and mean, deviation and a few values
of each output. They were written by networks that agree with the original ones; `python tests/network_digests.py` writes them anew.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from standin_weights import fill_with_standins, shapes_of

from arcface_model.iresnet import iresnet100
from models.aei_encoders import BACKBONES
from models.aei_net import IDENTITY_SIZE, NUM_BLOCKS, AEI_Net
from models.sr_net import LipSpadeGenerator

DIGESTS = Path(__file__).parent / "data" / "network_digests.json"
REFERENCE = (
    Path(__file__).resolve().parents[2] / "shared" / "reference"
)  # tensors of the original networks, where they are at hand
SAMPLES = 16
SR_PX = 128  # the network takes any multiple of 32; a quarter of the pixels will do

VARIANTS = [f"{backbone}_{num_blocks}" for backbone in BACKBONES for num_blocks in NUM_BLOCKS]


def build(name: str) -> nn.Module:
    """The network of that name on the meta device: `unet_1` to `resnet_3`, `iresnet100` or `lip_spade`."""
    with torch.device("meta"):
        if name == "iresnet100":
            return iresnet100()
        if name == "lip_spade":
            return LipSpadeGenerator()
        backbone, num_blocks = name.split("_")
        return AEI_Net(backbone, int(num_blocks))


def tolerance(name: str) -> float:
    """Allowed difference in standard deviations; the stand-ins of the 3-block generators amplify rounding."""
    return 5e-3 if name.endswith("_3") else 1e-3


def golden_picture(side_px: int, count: int = 1) -> Tensor:
    """(count, 3, side, side) in [-1, 1]: waves of several lengths and directions, and noise."""
    y, x = np.mgrid[:side_px, :side_px] / side_px
    noise = np.random.RandomState(2022).uniform(-0.2, 0.2, (count, 3, side_px, side_px))
    waves = [np.sin(2 * np.pi * (n + 1) * (x * (c + 1) + y * (3 - c))) for n in range(count) for c in range(3)]
    return torch.from_numpy((0.8 * np.reshape(waves, noise.shape) + noise).astype(np.float32))


def golden_outputs(name: str, network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """What `network` makes of the golden input, by output."""
    with torch.inference_mode():
        if name == "iresnet100":
            return {"embedding": network(golden_picture(112)).numpy()}
        if name == "lip_spade":
            return {"image": network(golden_picture(SR_PX) * 0.5 + 0.5).numpy()}
        identity = torch.from_numpy(np.random.RandomState(1973).standard_normal((1, IDENTITY_SIZE)).astype(np.float32))
        image, attributes = network(golden_picture(256), identity)
    return {"image": image.numpy(), **{f"attribute {n}": each.numpy() for n, each in enumerate(attributes)}}


def digest(array: NDArray[np.float32]) -> dict[str, object]:
    """Shape, mean, deviation and evenly spaced values."""
    places = np.linspace(0, array.size - 1, SAMPLES).astype(int)
    wide = array.astype(np.float64)
    return {
        "shape": list(array.shape),
        "mean": float(f"{wide.mean():.7g}"),
        "std": float(f"{wide.std():.7g}"),
        "samples": [float(f"{value:.7g}") for value in wide.ravel()[places]],
    }


def deviation(found: Mapping[str, object], golden: Mapping[str, object]) -> float:
    """Largest difference of two digests, in golden standard deviations."""
    assert found["shape"] == golden["shape"]
    rows = [np.hstack([each["mean"], each["std"], each["samples"]]) for each in (found, golden)]
    return float(np.abs(rows[0] - rows[1]).max() / golden["std"])


def keys_digest(network: nn.Module) -> dict[str, object]:
    """Number and hash of the names and shapes of a checkpoint, whatever their order."""
    lines = sorted(f"{key} {'x'.join(map(str, shape))}\n" for key, shape in shapes_of(network))
    return {"count": len(lines), "sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}


def golden_digests() -> dict[str, dict[str, dict[str, object]]]:
    """The stored digests: network -> "keys" or "outputs"."""
    return json.loads(DIGESTS.read_text(encoding="utf-8"))


def take_digest(name: str, say: Callable[[str], object] = print) -> dict[str, object]:
    """Fill the network of that name and take its digests."""
    network = build(name)
    keys = keys_digest(network)
    fill_with_standins(network)
    say(name)
    return {"keys": keys, "outputs": {key: digest(value) for key, value in golden_outputs(name, network).items()}}


if __name__ == "__main__":
    torch.set_num_threads(2)
    digests = {name: take_digest(name) for name in [*VARIANTS, "iresnet100", "lip_spade"]}
    DIGESTS.parent.mkdir(exist_ok=True)
    text = json.dumps(digests, indent=1)
    text = re.sub(r"\[[^\[\]]*\]", lambda numbers: " ".join(numbers[0].split()), text)  # a list on one line
    DIGESTS.write_text(text + "\n", encoding="utf-8")
