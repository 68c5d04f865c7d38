"""Folders of pictures: one folder a class, or such folders under train/ and test/.

Hidden files and folders are skipped. A folder val/ beside train/ and test/ is left alone, because validation images are
taken from the training images. A picture is read as a viewer shows it: upright, in colour, before white, in 8 bits.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from hdge.data.files import refusing, visible
from hdge.data.images import ImageSet, fit
from hdge.study.errors import HdgeError

SIDE = 32  # pixels of the images made here
VALIDATION = ("val", "valid", "validation")
PART_NAMES = ("train", "training", "test", "testing", "dev", *VALIDATION)  # what people call the parts of a data set
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
LARGEST_RATIO = 1000  # of a picture's sides; resizing the shorter one to 32 pixels then makes at most 32 x 32,000


def read_folder(name: str, folder: Path, root: Path) -> tuple[ImageSet | None, ImageSet]:
    """Read the training images, if they have a folder of their own, and the test images, in colour, 32x32 pixels.

    The shorter side is resized, and the centre is cropped. Labels are places in the sorted list of class folders.

    Raises:
        HdgeError: folders of unclear meaning, classes that differ between train/ and test/, a class without pictures,
            files that are no pictures, or a damaged picture.
    """
    parts = _parts(folder, root)
    if not parts:
        return None, _read_classes(name, folder, root)
    classes = {part: [path.name for path in _class_folders(folder / part, root)] for part in parts}
    if "train" in parts and classes["train"] != classes["test"]:
        missing = ", ".join(sorted(set(classes["train"]) - set(classes["test"]))) or "none"
        added = ", ".join(sorted(set(classes["test"]) - set(classes["train"]))) or "none"
        raise HdgeError(
            f"{folder / 'test'} has other class folders than train/ (missing: {missing}; added: {added}); "
            "give both parts the same classes."
        )
    sets = {part: _read_classes(name, folder / part, root) for part in parts}
    return sets.get("train"), sets["test"]


def _parts(folder: Path, root: Path) -> list[str]:
    """Tell the parts that have folders of their own: train and test, test alone, or none if the folders are classes."""
    names = [path.name for path in visible(folder, root) if path.is_dir()]
    named = [name for name in names if name.lower() in PART_NAMES]
    inside = (path for name in named for path in visible(folder / name, root))
    if not named or (len(named) < len(names) and not any(path.is_dir() for path in inside)):
        return []  # among other classes, a folder train/ of pictures is a class: CIFAR-100 has one
    there = " and ".join(f"{name}/" for name in named)
    if "test" not in named:
        raise HdgeError(
            f"{folder} has {there} but no test/; rename the folder of test images to test/, or keep one folder a class."
        )
    if len(named) > 1 and "train" not in named:
        raise HdgeError(f"{folder} has {there} but no train/; rename the folder of training images to train/.")
    strays = [name for name in names if name not in ("train", "test", *VALIDATION)]
    if strays:
        raise HdgeError(f"{folder} has {strays[0]}/ beside {there}; move its pictures into train/ and test/.")
    return [part for part in ("train", "test") if part in named]


def _class_folders(folder: Path, root: Path) -> list[Path]:
    """List the folders of the classes, and refuse pictures that lie beside them."""
    there = visible(folder, root)
    loose = [path for path in there if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    if loose:
        raise HdgeError(f"{loose[0]} lies in no class folder; move it into the folder of its class.")
    classes = [path for path in there if path.is_dir()]
    if not classes:
        raise HdgeError(f"{folder} cannot be read as one folder of images a class: it has no folders; make some.")
    return classes


def _read_classes(name: str, folder: Path, root: Path) -> ImageSet:
    classes = _class_folders(folder, root)
    images, labels = [], []
    for label, place in enumerate(classes):
        # In ImageFolder's order, by folder and then by name, for the fixed splits count images in order.
        pictures = sorted(_pictures(place, root, []), key=lambda path: (str(path.parent), path.name))
        if not pictures:
            raise HdgeError(f"{place} holds no pictures ({', '.join(SUFFIXES)}); add some, or remove the folder.")
        images += [fit(read_picture(path)[None], 3, SIDE, SIDE)[0] for path in pictures]
        labels += [label] * len(pictures)
    return ImageSet(name, torch.stack(images), torch.tensor(labels), tuple(place.name for place in classes))


def _pictures(folder: Path, root: Path, above: list[Path]) -> list[Path]:
    """List the pictures of a class at any depth; ``above`` are the folders that hold this one."""
    target = folder.resolve()
    if target in above:
        raise HdgeError(f"{folder} leads back to a folder that holds it; remove that link.")
    found = []
    for path in visible(folder, root):
        if path.is_dir():
            found += _pictures(path, root, [*above, target])
        elif path.suffix.lower() in SUFFIXES:
            found.append(path)
        else:
            raise HdgeError(f"{path} is no picture that is read here ({', '.join(SUFFIXES)}); convert or move it.")
    return found


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
