"""Folders of pictures: one folder a class, or such folders under train/ and test/.

Hidden files and folders are skipped. A folder val/ beside train/ and test/ is left alone, because validation images are
taken from the training images.
"""

from pathlib import Path

import torch

from hdge.data.files import visible
from hdge.data.images import ImageSet, fit
from hdge.data.pictures import SUFFIXES, read_picture
from hdge.study.errors import HdgeError

SIDE = 32  # pixels of the images made here
VALIDATION = ("val", "valid", "validation")
PART_NAMES = ("train", "training", "test", "testing", "dev", *VALIDATION)  # what people call the parts of a data set


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
    if not named or (len(named) < len(names) and not any(_has_folders(folder / name, root) for name in named)):
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


def _has_folders(folder: Path, root: Path) -> bool:
    return any(path.is_dir() for path in visible(folder, root))


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
