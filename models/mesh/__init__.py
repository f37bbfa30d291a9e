"""A training-free face swap: the source photo as a texture on the target's face mesh. NumPy and OpenCV only."""

from models.mesh.generator import MeshGenerator
from models.mesh.topology import MeshTopology, build_topology

__all__ = ["MeshGenerator", "MeshTopology", "build_topology"]
