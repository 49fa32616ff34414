"""Random resized crops and color jitter of images (B, C, H, W), each drawn from one key an image.

A key is an int64 number; all that is random of an image follows from it, whatever batch, device or
process the image is in. The ranges of the crop are those that training on ImageNet usually has
(Szegedy et al., arXiv:1409.4842, section 6).
"""

from __future__ import annotations

import math
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # of a crop: part of the image, width / height
ATTEMPTS = 10
_OF_CROPS = 4 * ATTEMPTS  # uniform numbers of an image
_OF_COLORS = 5
_ORDERS = torch.tensor(list(permutations(range(4))))
_GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601
_STEP, _FIRST, _SECOND = (
    value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def uniforms(keys: Tensor, count: int, skip: int = 0) -> Tensor:
    """Uniform numbers in [0, 1): keys (B,) int64 -> (B, count) float64, after `skip` others.

    The stream of splitmix64 (Steele, Lea, Flood, OOPSLA 2014), seeded with each key.
    """
    steps = torch.arange(skip + 1, skip + count + 1, device=keys.device)
    bits = keys[:, None] + _STEP * steps
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        bits = (bits ^ _shifted(bits, shift)) * factor
    bits = bits ^ _shifted(bits, 31)
    return _shifted(bits, 11).double() / 2**53


def _shifted(bits: Tensor, places: int) -> Tensor:
    """To the right, zeros coming in, as of an unsigned number."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def crop_boxes(keys: Tensor, height: int, width: int) -> Tensor:
    """Boxes (B, 4) int64 of images of one size: top, left, height, width, in pixels.

    The area is uniform over 0.08 to 1 of the image's, the logarithm of width / height over that of
    3/4 to 4/3. A box that does not lie in the image is drawn again, ten times at most; then it is
    the largest one in the middle whose ratio is in range.
    """
    drawn = uniforms(keys, _OF_CROPS).view(-1, ATTEMPTS, 4)
    area = height * width * (AREA[0] + (AREA[1] - AREA[0]) * drawn[..., 0])
    low, high = map(math.log, RATIO)
    ratio = torch.exp(low + (high - low) * drawn[..., 1])
    rows, columns = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
    fits = (rows >= 1) & (rows <= height) & (columns >= 1) & (columns <= width)
    tops = (drawn[..., 2] * (height - rows + 1)).floor()
    lefts = (drawn[..., 3] * (width - columns + 1)).floor()
    first = fits.int().argmax(1)[:, None, None].expand(-1, 1, 4)
    found = torch.stack([tops, lefts, rows, columns], dim=2).gather(1, first)[:, 0].long()
    rest = min(height, round(width / RATIO[0])), min(width, round(height * RATIO[1]))
    middle = torch.tensor([(height - rest[0]) // 2, (width - rest[1]) // 2, *rest])
    return torch.where(fits.any(1, keepdim=True), found, middle.to(found.device))


def crop(images: Tensor, keys: Tensor) -> Tensor:
    """A random box of each float image, resized to the image's size: bilinear, centers aligned.

    The box is never larger than the image, so nothing has to be smoothed before.
    """
    height, width = images.shape[2:]
    top, left, rows, columns = crop_boxes(keys, height, width).to(images.dtype).T[..., None]
    y = _places(top, rows, height)[:, :, None].expand(-1, -1, width)
    x = _places(left, columns, width)[:, None].expand(-1, height, -1)
    return F.grid_sample(images, torch.stack([x, y], dim=3), align_corners=False)


def _places(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Where `size` pixels of a box (B, 1) are read, (B, size), in the -1..1 of `grid_sample`."""
    centers = torch.arange(size, device=start.device) + 0.5
    read = (start + centers * length / size).clamp(start + 0.5, start + length - 0.5)
    return 2 * read / size - 1


def jitter(images: Tensor, keys: Tensor, strength: float) -> Tensor:
    """Brightness, contrast and saturation (uniform in 1 +- strength) and hue (+- strength / 2 of a
    turn) of images (B, 3, H, W) in [0, 1], in an order drawn for each image.

    With 0.4 as the DARTS code has it for ImageNet (arXiv:1806.09055). Factors below 0 are drawn as
    0; values are cut off at 0 and 1 after each step.
    """
    drawn = uniforms(keys, _OF_COLORS, skip=_OF_CROPS).to(images.dtype)
    low = max(0.0, 1 - strength)
    factors = (low + (1 + strength - low) * drawn[:, :3])[:, :, None, None, None].unbind(1)
    turns = (strength * (drawn[:, 3] - 0.5))[:, None, None]
    orders = _ORDERS.to(keys.device)[(drawn[:, 4] * len(_ORDERS)).long().clamp(max=23)]
    for chosen in orders.T[:, :, None, None, None]:
        changed = (
            brightness(images, factors[0]),
            contrast(images, factors[1]),
            saturation(images, factors[2]),
            hue(images, turns),
        )
        for number, found in enumerate(changed):
            images = torch.where(chosen == number, found, images)
    return images


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """All values times the factor."""
    return (images * factor).clamp(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """The distance of all values from the image's mean gray, times the factor."""
    mean = _gray(images).mean((2, 3), keepdim=True)
    return (mean + (images - mean) * factor).clamp(0, 1)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """The distance of each pixel from its gray, times the factor."""
    gray = _gray(images)
    return (gray + (images - gray) * factor).clamp(0, 1)


def hue(images: Tensor, turns: Tensor) -> Tensor:
    """The hue of HSV moved by `turns` (B, 1, 1), 1 being once around."""
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    divisor = chroma.clamp(min=torch.finfo(images.dtype).tiny)
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    places = [(n + sixths + 6 * turns) % 6 for n in (5, 3, 1)]
    parts = [value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in places]
    return torch.stack(parts, dim=1)


def _gray(images: Tensor) -> Tensor:
    weights = torch.tensor(_GRAY, dtype=images.dtype, device=images.device)
    return (images * weights[:, None, None]).sum(1, keepdim=True)
