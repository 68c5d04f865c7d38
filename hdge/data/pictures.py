"""One picture file as a viewer shows it: upright, in colour, in front of white, in 8 bits."""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from hdge.data.files import refusing
from hdge.study.errors import HdgeError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
LARGEST_RATIO = 1000  # of a picture's sides; resizing the shorter one to 32 pixels then makes at most 32 x 32,000


def read_picture(path: Path) -> UInt8[Tensor, "3 height width"]:
    """Pixels of a picture file in 8-bit colour.

    EXIF's orientation is applied, transparent pixels are laid over white, and 16 bits are scaled by 255 / 65535.

    Raises:
        HdgeError: a damaged file, more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``, several pictures in one file, or
            pixels whose range the file does not state (floating point, 32 bits, signed).
    """
    from torchvision.transforms.functional import pil_to_tensor

    with refusing(f"{path} cannot be read as a picture", "replace or remove it"), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as picture:
            _refuse_what_has_no_one_look(picture, path)
            pixels: Tensor = pil_to_tensor(_as_seen(ImageOps.exif_transpose(picture)))
            return pixels


def _refuse_what_has_no_one_look(picture: Image.Image, path: Path) -> None:
    """Refuse files from which 8 bits a pixel could only be guessed."""
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # telephones write photographs as MPO, with a copy for previews
        raise HdgeError(f"{path} holds {frames} pictures; save each to a file of its own.")
    if picture.mode == "F":
        raise HdgeError(f"{path} has floating-point pixels, whose range is unknown; save it with 8 or 16 bits.")
    if picture.mode == "I" and picture.format != "PPM":  # from PGM, mode "I" holds 16 bits
        raise HdgeError(f"{path} has pixels of 32 or signed bits, whose range is unknown; save it with 8 or 16 bits.")
    if max(picture.size) > LARGEST_RATIO * min(picture.size):
        width, height = picture.size
        raise HdgeError(
            f"{path} is {width} x {height} pixels; its sides may differ by a factor of {LARGEST_RATIO} at most, "
            "so crop or remove it."
        )


def _as_seen(picture: Image.Image) -> Image.Image:
    """The picture in 8-bit colour in front of white."""
    if picture.mode.startswith("I"):
        wide = np.asarray(picture)
        grey = (wide.astype(np.float64) * (255 / 65535)).round().astype(np.uint8)
        if "transparency" in picture.info:
            grey[wide == picture.info["transparency"]] = 255
        return Image.fromarray(grey).convert("RGB")
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")
