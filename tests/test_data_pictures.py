"""Pixels of one picture file: as a viewer shows them, or refused by name."""

import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hdge.data.folders import read_picture
from hdge.study.errors import HdgeError
from tests.conftest import EXAMPLES

RAMP = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
EIGHT_BITS = np.floor(RAMP / 257 + 0.5).astype(np.uint8)  # 65535 / 255 = 257


def saved(path, image, **options):
    image.save(path, **options)
    return read_picture(path)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bits_are_scaled_by_their_range(suffix, tmp_path):
    pixels = saved(tmp_path / f"ramp{suffix}", Image.fromarray(RAMP))
    assert pixels.dtype == torch.uint8
    for channel in pixels:
        assert channel.numpy().tolist() == EIGHT_BITS.tolist()


def test_big_endian_16_bits_are_scaled_likewise(tmp_path):
    image = Image.frombytes("I;16B", (32, 32), RAMP.astype(">u2").tobytes())
    assert saved(tmp_path / "ramp.tif", image)[0].numpy().tolist() == EIGHT_BITS.tolist()


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_of_unknown_range_are_refused_by_name(kind, tmp_path):
    with pytest.raises(HdgeError, match=r"ramp.tif has .*whose range is unknown; save it with 8 or 16 bits"):
        saved(tmp_path / "ramp.tif", Image.fromarray((RAMP // 2).astype(kind)))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(suffix, orientation, tmp_path):
    """A white square in one quarter of the stored picture; EXIF says which corner of it is shown at the top left."""
    stored = np.zeros((32, 48), np.uint8)
    stored[:16, :24] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = saved(tmp_path / f"it{suffix}", Image.fromarray(stored).convert("RGB"), exif=exif)
    corner = {1: "00", 2: "01", 3: "11", 4: "10", 5: "00", 6: "01", 7: "11", 8: "10"}[orientation]
    height, width = (32, 48) if orientation <= 4 else (48, 32)
    assert shown.shape == (3, height, width)
    for row in (0, 1):
        for column in (0, 1):
            quarter = shown[0, row * height // 2 :, column * width // 2 :][4 : height // 2 - 4, 4 : width // 2 - 4]
            expected = 255 if f"{row}{column}" == corner else 0
            assert (quarter.int() - expected).abs().max() <= 8  # JPEG and WebP lose a little


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_transparent_pixels_are_laid_over_white(mode, suffix, tmp_path):
    image = Image.new(mode, (4, 3), (10, 20, 30, 0) if mode == "RGBA" else (10, 0))
    image.putpixel((1, 0), (10, 20, 30, 255) if mode == "RGBA" else (10, 255))
    image.putpixel((2, 0), (0, 0, 0, 51) if mode == "RGBA" else (0, 51))
    pixels = saved(tmp_path / f"it{suffix}", image)
    assert pixels[:, 0, 1].tolist() == ([10, 20, 30] if mode == "RGBA" else [10, 10, 10])
    assert pixels[:, 0, 2].tolist() == [204] * 3  # a fifth of black over white
    pixels[:, 0, 1:3] = 255
    assert pixels.unique().tolist() == [255]


def test_every_opaque_pixel_value_is_kept_under_an_alpha_channel(tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    opaque = np.stack([values, values[::-1], values.T, np.full_like(values, 255)], axis=2)
    pixels = saved(tmp_path / "it.png", Image.fromarray(opaque))
    assert pixels.permute(1, 2, 0).numpy().tolist() == opaque[..., :3].tolist()


def test_a_transparent_colour_of_palettes_and_of_grey_is_white(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 255, 255, 0, 0, 0, 255, 0])
    image.putpixel((0, 0), 2)
    image.putpixel((3, 3), 0)
    expected = {(0, 0): [0, 255, 0], (3, 3): [0, 0, 255], (1, 1): [255, 0, 0]}
    for transparency, hidden in ((None, None), (0, (3, 3)), (bytes([255, 255, 0]), (0, 0))):
        options = {} if transparency is None else {"transparency": transparency}
        pixels = saved(tmp_path / "it.png", image, **options)
        for (column, row), colour in expected.items():
            assert pixels[:, row, column].tolist() == ([255] * 3 if (column, row) == hidden else colour)
    grey = saved(tmp_path / "grey.png", Image.fromarray(np.array([[7, 9]], np.uint8)), transparency=7)
    assert grey[0].tolist() == [[255, 9]]
    wide = saved(tmp_path / "wide.png", Image.fromarray(np.array([[514, 2570]], np.uint16)), transparency=514)
    assert wide[0].tolist() == [[255, 10]]


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_printing_colours_are_shown_as_light(suffix, tmp_path):
    colours = {"red": (0, 255, 255, 0), "white": (0, 0, 0, 0), "black": (0, 0, 0, 255)}
    for name, ink in colours.items():
        pixels = saved(tmp_path / f"{name}{suffix}", Image.new("CMYK", (16, 16), ink))
        light = torch.tensor({"red": [255, 0, 0], "white": [255] * 3, "black": [0] * 3}[name])
        assert (pixels[:, 8, 8].int() - light).abs().max() <= 3  # JPEG's rounding


def test_several_pictures_in_a_file_are_refused_but_not_a_telephones_previews(tmp_path):
    pages = [Image.new("L", (8, 8), shade) for shade in (0, 90, 200)]
    for name in ("stack.tif", "film.png", "film.webp"):
        with pytest.raises(HdgeError, match=f"{name} holds 3 pictures; save each to a file of its own"):
            saved(tmp_path / name, pages[0], save_all=True, append_images=pages[1:])
    pages[2].convert("RGB").save(tmp_path / "photo.mpo", save_all=True, append_images=[pages[0].convert("RGB")])
    photograph = (tmp_path / "photo.mpo").rename(tmp_path / "photo.jpg")
    assert read_picture(photograph).unique().tolist() == [200]


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    Image.new("1", (3000, 3000)).save(tmp_path / "big.png")
    for limit, message in ((8_000_000, "exceeds limit of 8000000 pixels"), (4_000_000, "exceeds limit of 8000000")):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(HdgeError, match=f"big.png cannot be read as a picture .*{message}.*; replace or remove it"):
            read_picture(tmp_path / "big.png")
    with pytest.raises(HdgeError, match=r"line.png is 1 x 1001 pixels; its sides may differ by a factor of 1000"):
        saved(tmp_path / "line.png", Image.new("L", (1, 1001)))


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_damaged_files_are_refused_by_name(tmp_path):
    noise = Image.effect_noise((200, 200), 60).convert("RGB")
    whole = {}
    for suffix in (".png", ".jpg", ".tif", ".webp", ".bmp", ".ppm"):
        noise.save(tmp_path / f"whole{suffix}")
        whole[suffix] = (tmp_path / f"whole{suffix}").read_bytes()
    damaged = {f"cut{suffix}": content[: len(content) // 2] for suffix, content in whole.items()}
    damaged |= {"empty.png": b"", "page.png": b"<html>quota exceeded</html>", "text.jpg": b"\0\5\x16\7" + b"\0" * 200}
    last = whole[".png"].rfind(b"IDAT")
    damaged["chunk.png"] = whole[".png"][:last] + b"\xa9\x8a\xbc\x07" + whole[".png"][last + 4 :]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"0" * 200_000_000, 9))
    damaged["bomb.png"] = b"\x89PNG\r\n\x1a\n" + header + text + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(HdgeError, match=f"{name} cannot be read as a picture .*; replace or remove it"):
            read_picture(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(HdgeError, match="folder.png cannot be read as a picture"):
        read_picture(tmp_path / "folder.png")


@given(st.sampled_from([".png", ".jpg", ".tif", ".webp", ".bmp"]), st.data())
@settings(deadline=None, max_examples=EXAMPLES)
def test_whatever_happens_to_a_file_it_is_read_or_refused(tmp_path_factory, suffix, data):
    folder = tmp_path_factory.getbasetemp()
    path = folder / f"fuzz{suffix}"
    Image.fromarray(RAMP[:8, :12].astype(np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        pixels, refusal = read_picture(path), f"{path}"
    except HdgeError as error:
        pixels, refusal = torch.zeros(3, 1, 1, dtype=torch.uint8), str(error)
    assert f"fuzz{suffix}" in refusal
    assert pixels.dtype == torch.uint8
    assert pixels.shape[0] == 3
