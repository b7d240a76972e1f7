"""Page images to encode: noise of a seed, since random weights tell plain pages hardly apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def noise(path: Path, seed: int, size: tuple[int, int] = (60, 80)) -> Path:
    """Write an image of noise and return its path."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path
