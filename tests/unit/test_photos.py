"""Picture files: whole or refused, upright, 8-bit RGB, with the focal length that EXIF tells."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from edgedepth.core.errors import PhotoError
from edgedepth.core.optional import is_installed
from edgedepth.photos import list_photos, read_photo

RNG = np.random.default_rng(7)
# Odd sides and noise: no flip or turn of it looks like another.
PIXELS = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)
LOSSLESS = ["PNG", "TIFF", "WEBP", "BMP"]


def exif_of(orientation: int | None = None, **tags: Any) -> Image.Exif:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    ifd = exif.get_ifd(0x8769)
    ifd.update({{"f35": 0xA405, "f": 0x920A, "x": 0xA002, "y": 0xA003, "zoom": 0xA404}[k]: v for k, v in tags.items()})
    exif[0x8769] = dict(ifd)  # versions and formats of Pillow differ in which of the two they write
    return exif


def saved(path: Path, image: Image.Image | npt.NDArray[np.uint8], **options: Any) -> Path:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    if path.suffix == ".webp":
        options.setdefault("lossless", True)
    image.save(path, **options)
    return path


def encoded(format_name: str, image: Image.Image | None = None) -> bytes:
    buffer = io.BytesIO()
    options = {"lossless": True} if format_name == "WEBP" else {}
    (image or Image.fromarray(PIXELS)).save(buffer, format_name, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


# --- pixels


@pytest.mark.parametrize("format_name", LOSSLESS)
def test_lossless_formats_keep_every_value(tmp_path: Path, format_name: str) -> None:
    photo = read_photo(str(saved(tmp_path / f"a.{format_name.lower()}", PIXELS)))
    assert np.array_equal(photo.pixels_rgb, PIXELS)
    assert photo.pixels_rgb.dtype == np.uint8
    assert photo.pixels_rgb.flags.c_contiguous
    assert photo.pixels_rgb.flags.writeable
    assert photo.path == tmp_path / f"a.{format_name.lower()}"
    assert (photo.focal_px, photo.focal_source) == (None, "no EXIF data about the lens")


def test_jpeg_is_close(tmp_path: Path) -> None:
    smooth = cv2.resize(np.asarray([[[0, 0, 255], [255, 0, 0]], [[0, 255, 0], [9, 9, 9]]], np.uint8), (64, 48))
    photo = read_photo(saved(tmp_path / "a.JPG", smooth, format="JPEG", quality=95, subsampling=0))
    # JPEG at quality 95 quantises a smooth picture by a few levels.
    assert np.abs(photo.pixels_rgb.astype(int) - smooth).max() <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_orientation_against_pillows_own(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = saved(tmp_path / f"a.{suffix}", PIXELS, exif=exif_of(orientation, f35=35, x=34, y=21))
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    photo = read_photo(path)
    assert np.array_equal(photo.pixels_rgb, expected)
    assert photo.pixels_rgb.shape == ((34, 21, 3) if orientation >= 5 else (21, 34, 3))
    # 35 * sqrt(34² + 21²) / 43.26661531 = 35 * 39.96248241 / 43.26661531, lying or standing
    assert photo.focal_px == pytest.approx(32.327162, abs=1e-6)
    assert photo.focal_source == "EXIF FocalLengthIn35mmFilm = 35 mm"


@pytest.mark.parametrize(
    ("orientation", "corner"),
    # Where the stored picture's first pixel is shown (row, column), by the Exif standard's table of orientations.
    [(1, (0, 0)), (2, (0, -1)), (3, (-1, -1)), (4, (-1, 0)), (5, (0, 0)), (6, (0, -1)), (7, (-1, -1)), (8, (-1, 0))],
)
def test_orientation_by_the_standard(tmp_path: Path, orientation: int, corner: tuple[int, int]) -> None:
    stored = np.zeros((21, 34, 3), np.uint8)
    stored[0, 0] = 255
    photo = read_photo(saved(tmp_path / "a.png", stored, exif=exif_of(orientation)))
    assert photo.pixels_rgb[corner].tolist() == [255, 255, 255]


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_turns_nothing(tmp_path: Path, orientation: int) -> None:
    photo = read_photo(saved(tmp_path / "a.png", PIXELS, exif=exif_of(orientation)))
    assert np.array_equal(photo.pixels_rgb, PIXELS)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_png_is_rounded_not_clipped(tmp_path: Path, channels: int) -> None:
    wide = RNG.integers(0, 65536, (21, 34, channels), dtype=np.uint16)
    wide[0, :5] = np.asarray([0, 128, 129, 32768, 65535], np.uint16)[:, None]
    assert cv2.imwrite(str(tmp_path / "a.png"), wide)
    rgb = wide[..., 2::-1] if channels > 1 else np.repeat(wide, 3, axis=2)
    expected = np.rint(rgb.astype(np.float64) / 257)
    pixels = read_photo(tmp_path / "a.png").pixels_rgb
    assert np.array_equal(pixels, expected)
    # By hand: 128 / 257 = 0.498, 129 / 257 = 0.502, 32768 / 257 = 127.502.
    assert pixels[0, :5, 0].tolist() == [0, 0, 1, 128, 255]


def test_16_bit_png_is_upright_too(tmp_path: Path) -> None:
    wide = RNG.integers(0, 65536, (21, 34), dtype=np.uint16)
    path = saved(tmp_path / "a.png", Image.fromarray(wide), exif=exif_of(6, f35=35))
    photo = read_photo(path)
    assert np.array_equal(photo.pixels_rgb[..., 0], np.rint(np.rot90(wide, -1) / 257))
    assert photo.focal_px == pytest.approx(32.327162, abs=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_grey_tiff(tmp_path: Path, order: str) -> None:
    wide = RNG.integers(0, 65536, (21, 34), dtype=np.uint16)
    path = saved(tmp_path / "a.tif", Image.fromarray(wide.astype(f"{order}u2")))
    assert np.array_equal(read_photo(path).pixels_rgb[..., 1], np.rint(wide / 257))


def test_16_bit_colour_tiff_keeps_its_high_byte(tmp_path: Path) -> None:
    wide = RNG.integers(0, 65536, (21, 34, 3), dtype=np.uint16)
    assert cv2.imwrite(str(tmp_path / "a.tif"), wide)
    assert np.array_equal(read_photo(tmp_path / "a.tif").pixels_rgb, (wide >> 8)[..., ::-1])


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_pictures_are_refused(tmp_path: Path, mode: str) -> None:
    path = saved(tmp_path / "a.tif", Image.new(mode, (20, 20)))
    with pytest.raises(PhotoError, match="32 bits a pixel"):
        read_photo(path)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    # Ink: cyan, magenta, yellow, black, none; on paper by (255 - ink)(255 - black) / 255.
    inks = [(255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (0, 0, 0, 0)]
    colours = [(0, 255, 255), (255, 0, 255), (255, 255, 0), (0, 0, 0), (255, 255, 255)]
    image = Image.new("CMYK", (80, 16))
    for i, ink in enumerate(inks):
        image.paste(ink, (16 * i, 0, 16 * i + 16, 16))
    pixels = read_photo(saved(tmp_path / "a.jpg", image, quality=95)).pixels_rgb
    centres = pixels[8, 8::16].astype(int)
    # The blocks are flat, and JPEG rounds a flat block by a level or two.
    assert np.abs(centres - np.asarray(colours)).max() <= 3


def test_palette_grey_and_one_bit(tmp_path: Path) -> None:
    colour = Image.fromarray(PIXELS)
    palette = colour.quantize(16)
    assert np.array_equal(read_photo(saved(tmp_path / "p.png", palette)).pixels_rgb, np.asarray(palette.convert("RGB")))
    grey = PIXELS[..., 0].copy()
    assert np.array_equal(read_photo(saved(tmp_path / "l.png", grey)).pixels_rgb, np.repeat(grey[..., None], 3, 2))
    bits = np.asarray(Image.fromarray(grey).convert("1"))
    pixels = read_photo(saved(tmp_path / "1.png", Image.fromarray(bits))).pixels_rgb
    assert np.array_equal(pixels, np.repeat(bits[..., None], 3, 2) * np.uint8(255))


def test_alpha_is_dropped_as_opencv_does(tmp_path: Path) -> None:
    alpha = RNG.integers(0, 256, (21, 34, 1), dtype=np.uint8)
    path = saved(tmp_path / "a.png", np.concatenate([PIXELS, alpha], axis=2))
    assert np.array_equal(read_photo(path).pixels_rgb, PIXELS)
    assert np.array_equal(read_photo(path).pixels_rgb, cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])
    palette = Image.fromarray(PIXELS).quantize(16)
    transparent = saved(tmp_path / "p.png", palette, transparency=bytes(range(16)))
    assert np.array_equal(read_photo(transparent).pixels_rgb, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_the_first_of_many_pictures(tmp_path: Path, suffix: str) -> None:
    red, blue = (Image.new("RGB", (20, 20), colour) for colour in ("red", "blue"))
    pixels = read_photo(saved(tmp_path / f"a.{suffix}", red, save_all=True, append_images=[blue])).pixels_rgb
    assert pixels.shape == (20, 20, 3)
    assert (pixels == (255, 0, 0)).all()


def test_8k_passes_without_a_warning(tmp_path: Path) -> None:
    path = saved(tmp_path / "8k.png", Image.new("RGB", (7680, 4320), "red"))
    assert read_photo(path).pixels_rgb.shape == (4320, 7680, 3)


# --- refusals


@pytest.mark.parametrize("side", [8193, 12_000, 100_000])
def test_too_large_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    # 12 000² makes Pillow warn and 100 000² makes it raise; neither may show.
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b""))
    with pytest.raises(PhotoError, match=r"allowed are up to 8192|too large"):
        read_photo(path)


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("Dear reader, this is no JPEG.\n" * 20)
    with pytest.raises(
        PhotoError, match=r"not a picture that can be read: it begins with b'Dear rea'; allowed are JPEG"
    ):
        read_photo(tmp_path / "text.jpg")
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(PhotoError, match="not a picture"):  # Pillow would hand it to Ghostscript
        read_photo(tmp_path / "a.eps")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(PhotoError, match="is empty"):
        read_photo(tmp_path / "empty.jpg")
    with pytest.raises(PhotoError, match="is a folder; a picture file is meant"):
        read_photo(tmp_path)
    with pytest.raises(PhotoError, match=r"there is no file .*missing\.jpg"):
        read_photo(tmp_path / "missing.jpg")
    with pytest.raises(PhotoError, match="can't be opened: Not a directory"):
        read_photo(tmp_path / "text.jpg" / "a.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders on Windows")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoError, match="a device or a pipe"):
        read_photo(tmp_path / "pipe.jpg")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions work otherwise on Windows")
def test_permission_denied() -> None:
    # Not tmp_path: pytest's folders can't even be entered by the user that root turns into here.
    with tempfile.TemporaryDirectory() as name:
        path = saved(Path(name) / "a.png", PIXELS)
        Path(name).chmod(0o755)
        path.chmod(0)
        root = os.geteuid() == 0
        try:
            if root:
                os.seteuid(65534)
            with pytest.raises(PhotoError, match=r"can't be opened: Permission denied"):
                read_photo(path)
        finally:
            if root:
                os.seteuid(0)


@pytest.mark.parametrize("lenient", [False, True])
def test_a_truncated_jpeg_is_refused(tmp_path: Path, lenient: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Training code often sets this for the whole process; it would hand out a picture that is half grey.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    content = encoded("JPEG")
    (tmp_path / "cut.jpg").write_bytes(content[:-200])  # within the pixels: the headers are whole
    with pytest.raises(PhotoError, match="damaged or cut short"):
        read_photo(tmp_path / "cut.jpg")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), format_name=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"]))
def test_a_beginning_is_refused_or_lacks_no_pixel(tmp_path: Path, data: st.DataObject, format_name: str) -> None:
    content = encoded(format_name)
    (tmp_path / "whole").write_bytes(content)
    (tmp_path / "cut").write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    try:
        photo = read_photo(tmp_path / "cut")
    except PhotoError:
        return
    assert np.array_equal(photo.pixels_rgb, read_photo(tmp_path / "whole").pixels_rgb)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), format_name=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"]))
def test_broken_bytes_end_in_a_photo_or_a_photo_error(tmp_path: Path, data: st.DataObject, format_name: str) -> None:
    image = Image.fromarray(PIXELS)
    buffer = io.BytesIO()
    exif = {} if format_name in ("BMP", "GIF") else {"exif": exif_of(6, f35=35, x=34, y=21)}
    image.save(buffer, format_name, **exif)
    content = bytearray(buffer.getvalue())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[position] = data.draw(st.integers(0, 255))
    (tmp_path / "broken").write_bytes(content)
    try:
        photo = read_photo(tmp_path / "broken")
    except PhotoError:
        return
    assert photo.pixels_rgb.ndim == 3
    assert photo.focal_px is None or photo.focal_px > 0


def test_damaged_exif_leaves_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", PIXELS, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    photo = read_photo(path)
    assert np.array_equal(photo.pixels_rgb, PIXELS)
    assert photo.focal_px is None


def test_warnings_filters_are_left_alone(tmp_path: Path) -> None:
    before = list(warnings.filters)
    read_photo(saved(tmp_path / "a.png", PIXELS))
    assert warnings.filters == before


# --- focal lengths in files


def test_focal_length_alone_is_not_used(tmp_path: Path) -> None:
    photo = read_photo(saved(tmp_path / "a.jpg", PIXELS, exif=exif_of(f=4.0)))
    assert photo.focal_px is None
    assert photo.focal_source == (
        "EXIF has FocalLength = 4 mm, but no FocalLengthIn35mmFilm: the sensor's size is unknown"
    )


def test_a_cropped_picture(tmp_path: Path) -> None:
    photo = read_photo(saved(tmp_path / "a.jpg", PIXELS, exif=exif_of(f35=35, x=4000, y=3000)))
    assert photo.focal_px is None
    assert "of 4000 x 3000 pixels; this picture is 34 x 21" in photo.focal_source


@pytest.mark.parametrize(
    ("name", "shape", "focal_px", "source"),
    [
        # Focal lengths by hand: F35 * diagonal / 43.26661531; diagonals 4080, 1280, 4080.
        ("opensfm_berlin_01.jpg", (2448, 3264), 3300.466168, "FocalLengthIn35mmFilm = 35 mm"),
        ("opensfm_lund_01.jpg", (768, 1024), 1035.440366, "FocalLengthIn35mmFilm = 35 mm"),
        # An iPhone 6 has 29 mm: 57 is with its digital zoom of 1.97.
        ("exifsamples_jpg_hdr_iphone_hdr_NO.jpg", (2448, 3264), 5375.044901, "= 57 mm (digital zoom 1.97 taken as"),
        # Traps: a stale FocalPlaneXResolution and orientation 6; focal lengths without a 35 mm equivalent; no lens.
        ("exifsamples_jpg_hdr_canon_hdr_NO.jpg", (2048, 1536), None, "FocalLength = 57 mm, but no"),
        ("exifsamples_jpg_mobile_HMD_Nokia_8.3_5G.jpg", (1976, 4608), None, "FocalLength = 2.75 mm, but no"),
        ("exifsamples_jpg_mobile_jolla.jpg", (2448, 3264), None, "FocalLength = 4 mm, but no"),
        ("depthpro_example.jpg", (2268, 3024), None, "no FocalLengthIn35mmFilm in the EXIF data"),
    ],
)
def test_real_photographs(
    real_pictures: Path, name: str, shape: tuple[int, int], focal_px: float | None, source: str
) -> None:
    photo = read_photo(real_pictures / "photos_exif" / name)
    assert photo.pixels_rgb.shape == (*shape, 3)
    assert photo.focal_px == (None if focal_px is None else pytest.approx(focal_px, abs=1e-6))
    assert source in photo.focal_source


def test_heic(real_pictures: Path) -> None:
    path = real_pictures / "photos_exif" / "pillowheif_pug.heic"
    if not is_installed("pillow_heif"):
        with pytest.raises(PhotoError, match="HEIC picture, and pillow-heif") as caught:
            read_photo(path)
        assert caught.value.remedy == "pip install pillow-heif"
        return
    photo = read_photo(path)
    assert photo.pixels_rgb.shape == (3024, 4032, 3)
    assert photo.focal_px == pytest.approx(3028.663071, abs=1e-6)  # 26 * 5040 / 43.26661531


@pytest.mark.skipif(not is_installed("pillow_heif"), reason="pillow-heif, which writes HEIC, is not installed")
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_heic_orientation(tmp_path: Path, orientation: int) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    quarters = np.zeros((64, 96, 3), np.uint8)
    quarters[:32, :48] = 255  # white in the stored picture's first corner
    path = saved(tmp_path / "a.heic", quarters, exif=exif_of(orientation, f35=35, x=96, y=64).tobytes(), quality=90)
    photo = read_photo(path)
    assert photo.pixels_rgb.shape == ((96, 64, 3) if orientation >= 5 else (64, 96, 3))
    corner = {1: (8, 8), 3: (-8, -8), 6: (8, -8), 8: (-8, 8)}[orientation]
    assert photo.pixels_rgb[corner].min() > 240
    assert photo.focal_px == pytest.approx(93.333333, abs=1e-6)  # 3:2: 35 * 96 / 36


# --- listing


def test_list_photos(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.heic", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "sub.png").mkdir()
    (tmp_path / "sub.png" / "d.png").touch()
    single = tmp_path / "notes.txt"
    listed = list_photos([single, str(tmp_path), tmp_path / "a.png"])
    assert [path.name for path in listed] == ["notes.txt", "a.png", "b.JPG", "c.heic"]
    assert list_photos([]) == []


def test_list_photos_refuses(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PhotoError, match=r"holds no pictures; looked for are \.bmp"):
        list_photos([tmp_path / "empty"])
    with pytest.raises(PhotoError, match="there is no file"):
        list_photos([tmp_path / "missing"])
