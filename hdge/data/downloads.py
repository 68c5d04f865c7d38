"""torchvision's published data sets, downloaded into the data root where they are not there yet."""

import shutil
import tempfile
from pathlib import Path

import torch

from hdge.data.files import refusing
from hdge.data.images import ImageSet, fit

# Files and folders that torchvision makes in the root.
MADE = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar100": ("cifar-100-python", "cifar-100-python.tar.gz"),
    "svhn": ("train_32x32.mat", "test_32x32.mat"),
    "celeba": ("celeba",),
}


def read_download(name: str, root: Path) -> tuple[ImageSet | None, ImageSet]:
    """Read a published data set, after its download with a progress bar if it is not in the root yet.

    Raises:
        HdgeError: no network, a download that fails, or damaged files.
    """
    with refusing(f"{name} could not be downloaded into {root}, or read there", f"put {name}.npz there"):
        try:
            return _from_torchvision(name, root, download=False)
        except RuntimeError:  # torchvision's word for files that are missing or whose checksums differ
            return _download(name, root)


def _download(name: str, root: Path) -> tuple[ImageSet | None, ImageSet]:
    """Complete a copy of what is there in a hidden folder, and move it into the root when it is whole.

    A download that fails leaves nothing behind, and jobs that start together do not write to the same file.
    """
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{name}-") as scratch:
        whole, old = Path(scratch) / "whole", Path(scratch) / "old"
        whole.mkdir()
        old.mkdir()
        for made in MADE[name]:
            if (root / made).is_dir():
                shutil.copytree(root / made, whole / made)
            elif (root / made).exists():
                shutil.copy(root / made, whole / made)
        sets = _from_torchvision(name, whole, download=True)
        for made in MADE[name]:
            if (whole / made).exists():
                if (root / made).exists():
                    (root / made).replace(old / made)
                (whole / made).replace(root / made)
    return sets


def _from_torchvision(name: str, root: Path, download: bool) -> tuple[ImageSet | None, ImageSet]:
    """Have torchvision read its files in a folder."""
    import torchvision.datasets as sets  # where it is used, for its import takes two seconds
    from torchvision.transforms.functional import pil_to_tensor

    folder = str(root)
    if name == "celeba":
        celeba = sets.CelebA(folder, split="test", download=download)
        images = torch.stack([fit(pil_to_tensor(face)[None], 3, 32, 32)[0] for face, _ in celeba])
        return None, ImageSet(name, images, torch.zeros(len(images), dtype=torch.int64), ("face",))
    if name == "svhn":
        parts = [sets.SVHN(folder, split=split, download=download) for split in ("train", "test")]
        train, test = (
            ImageSet(name, torch.from_numpy(p.data), torch.from_numpy(p.labels).long(), tuple("0123456789"))
            for p in parts
        )
        return train, test
    kind = sets.CIFAR10 if name == "cifar10" else sets.CIFAR100
    train, test = (
        ImageSet(name, torch.from_numpy(p.data).permute(0, 3, 1, 2), torch.tensor(p.targets), tuple(p.classes))
        for p in (kind(folder, train=True, download=download), kind(folder, train=False, download=download))
    )
    return train, test
