"""Data sets of one or two tiny samples, written as their publishers write them and with none of the readers' code.

Each writer takes a folder and returns a Miniature: what the first sample has to come out as, and which of its files
are what, for tests that break them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

WIDTH, HEIGHT = 12, 8

Depth = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Miniature:
    """A data set, and the truth about its first sample."""

    folder: Path
    layout: str
    set_name: str
    sample: str
    image: npt.NDArray[np.uint8]
    depth_m: Depth  # 0 where unknown
    counted: npt.NDArray[np.bool_]  # where the layout's protocol counts
    focal_px: float | None
    picture: Path | None = None
    depth_file: Path | None = None
    calibration: Path | None = None


Writer = Callable[..., Miniature]


def draw(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path: Path, pixels: npt.NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path)
    return path


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def depths(known: bool, width: int = WIDTH, height: int = HEIGHT) -> Depth:
    """A slope from 1 m in steps of 1/256 m, exact in every unit that is a power of two, with two unknown pixels."""
    slope = 1 + np.arange(height * width, dtype=np.float64).reshape(height, width) / 256
    slope[0, 0] = slope[-1, -1] = 0
    return slope if known else np.zeros_like(slope)


def units(depth_m: Depth, per_metre: float) -> npt.NDArray[np.uint16]:
    return np.round(depth_m * per_metre).astype(np.uint16)


def everywhere(depth_m: Depth) -> npt.NDArray[np.bool_]:
    return np.ones(depth_m.shape, np.bool_)


def plain(folder: Path, *, known: bool = True) -> Miniature:
    raw = units(depths(known), 1000)
    picture, depth = save(folder / "desk.png", draw()), save(folder / "desk.depth.png", raw)
    write(folder / "intrinsics.json", '{"focal_px": 20.5}')
    return Miniature(
        folder, "plain", "plain", "desk", draw(), raw / 1000, everywhere(raw), 20.5, picture, depth
    )  # fmt: skip


def nyuv2(folder: Path, *, known: bool = True) -> Miniature:
    import h5py
    import scipy.io

    pictures = np.stack([draw(seed, 640, 480) for seed in (1, 2)])
    maps = np.stack([depths(known, 640, 480) % 11 for _ in pictures])  # on both sides of the protocol's 10 m
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "w") as file:  # MATLAB: columns first
        file["images"] = pictures.transpose(0, 3, 2, 1)
        file["rawDepths"] = maps.astype(np.float32).transpose(0, 2, 1)
    scipy.io.savemat(folder / "splits.mat", {"trainNdxs": [[1]], "testNdxs": [[2]]})
    counted = np.zeros((480, 640), np.bool_)
    counted[45:471, 41:601] = True
    return Miniature(
        folder, "nyuv2", "nyuv2", "0002", pictures[1], maps[1], counted & (maps[1] < 10), 518.85790117450188
    )  # fmt: skip


def kitti(folder: Path, *, known: bool = True) -> Miniature:
    drive = "2011_09_26_drive_0002_sync"
    width, height = 124, 37  # a tenth of KITTI's
    depth_m = depths(known, width, height)
    depth_m[20] = (79 + np.arange(width) / 62) * known  # 80 m and beyond are not counted
    raw = units(depth_m, 256)
    picture = save(folder / f"2011_09_26/{drive}/image_02/data/0000000069.png", draw(3, width, height))
    depth = save(folder / f"val/{drive}/proj_depth/groundtruth/image_02/0000000069.png", raw)
    calibration = write(
        folder / "2011_09_26/calib_cam_to_cam.txt",
        "calib_time: 09-Jan-2012 13:57:47\nP_rect_00: 7.0e+02 0 6.0e+02 0\nP_rect_02: 7.215377e+02 0.0 6.0e+02 4\n",
    )
    write(
        folder / "eigen_test_files_with_gt.txt",
        f"2011_09_26/{drive}/image_02/data/0000000069.png {drive}/proj_depth/groundtruth/image_02/0000000069.png 721\n"
        f"2011_09_26/{drive}/image_02/data/0000000002.png None 721.5377\n",
    )
    counted = np.zeros((height, width), np.bool_)
    # 0.40810811 * 37 = 15.1, 0.99189189 * 37 = 36.7; 0.03594771 * 124 = 4.5, 0.96405229 * 124 = 119.5
    counted[15:36, 4:119] = True
    sample = f"{drive}/image_02/0000000069"
    return Miniature(
        folder, "kitti", "kitti", sample, draw(3, width, height), raw / 256, counted & (raw / 256 < 80), 721.5377,
        picture, depth, calibration,
    )  # fmt: skip


def tum(folder: Path, *, known: bool = True) -> Miniature:
    sequence = folder / "rgbd_dataset_freiburg1_xyz"
    raw = units(depths(known), 5000)
    picture = save(sequence / "rgb/1305031102.175304.png", draw(4))
    depth = save(sequence / "depth/1305031102.160407.png", raw)
    write(sequence / "rgb.txt", "# color images\n# timestamp filename\n1305031102.175304 rgb/1305031102.175304.png\n")
    write(sequence / "depth.txt", "# depth maps\n1305031102.160407 depth/1305031102.160407.png\n")
    return Miniature(
        folder, "tum", "tum", "rgbd_dataset_freiburg1_xyz/rgb/1305031102.175304", draw(4), raw / 5000,
        everywhere(raw), 517.3, picture, depth,
    )  # fmt: skip


def middlebury(folder: Path, *, known: bool = True) -> Miniature:
    scene = folder / "Motorcycle-perfect"
    focal_px, doffs, baseline_mm = 256.0, 32.0, 250.0
    depth_m = depths(known)
    with np.errstate(divide="ignore"):
        disparity = (focal_px * baseline_mm / 1000 / depth_m - doffs).astype(np.float32)  # unknown: inf
    header = f"Pf\n{WIDTH} {HEIGHT}\n-0.003922\n".encode()
    picture = save(scene / "im0.png", draw(5))
    depth = write(scene / "disp0.pfm", header + disparity[::-1].astype("<f4").tobytes())
    calibration = write(
        scene / "calib.txt",
        f"cam0=[{focal_px} 0 6; 0 {focal_px} 4; 0 0 1]\ncam1=[999 0 7; 0 999 4; 0 0 1]\ndoffs={doffs}\n"
        f"baseline={baseline_mm}\nwidth={WIDTH}\nheight={HEIGHT}\nndisp=64\n",
    )
    expected = np.where(depth_m > 0, focal_px * 0.25 / (disparity.astype(np.float64) + doffs), 0)
    return Miniature(
        folder, "middlebury", "middlebury", "Motorcycle-perfect", draw(5), expected, everywhere(depth_m), focal_px,
        picture, depth, calibration,
    )  # fmt: skip


def sintel(folder: Path, *, known: bool = True) -> Miniature:
    depth_m = depths(known)
    picture = save(folder / "training/final/alley_1/frame_0001.png", draw(6))
    save(folder / "training/clean/alley_1/frame_0001.png", draw(60))
    depth = write(
        folder / "training/depth/alley_1/frame_0001.dpt",
        struct.pack("<fii", 202021.25, WIDTH, HEIGHT) + depth_m.astype("<f4").tobytes(),
    )
    intrinsic, extrinsic = [1120.0, 0, 511.5, 0, 1120.0, 217.5, 0, 0, 1], [0.0] * 12
    calibration = write(
        folder / "training/camdata_left/alley_1/frame_0001.cam",
        struct.pack("<f21d", 202021.25, *intrinsic, *extrinsic),
    )
    return Miniature(
        folder, "sintel", "sintel", "final/alley_1/frame_0001", draw(6), depth_m, everywhere(depth_m), 1120.0,
        picture, depth, calibration,
    )  # fmt: skip


def ibims(folder: Path, *, known: bool = True) -> Miniature:
    root = folder / "ibims1_core_raw"
    raw = units(depths(known), 65535 / 50)
    counted = everywhere(raw)
    counted[2:4, 3] = False  # a wrong measurement
    counted[5, 7:9] = False  # glass
    invalid, transparent = counted | (np.indices(raw.shape)[0] != 2), counted | (np.indices(raw.shape)[0] == 2)
    picture = save(root / "rgb/corridor_01.png", draw(7))
    depth = save(root / "depth/corridor_01.png", raw)
    save(root / "mask_invalid/corridor_01.png", invalid)  # 1-bit PNGs
    save(root / "mask_transp/corridor_01.png", transparent)
    calibration = write(root / "calib/corridor_01.txt", "561.25,562.5,319.5,239.5")
    return Miniature(
        folder, "ibims", "ibims", "corridor_01", draw(7), raw * (50 / 65535), counted, 561.25,
        picture, depth, calibration,
    )  # fmt: skip


def ibims_mat(folder: Path, *, known: bool = True) -> Miniature:
    import scipy.io

    root, depth_m = folder / "ibims1_core_mat", depths(known)
    counted = everywhere(depth_m)
    counted[2, 3:5] = False
    data = {
        "rgb": draw(7),
        "depth": depth_m,
        "calib": np.array([[561.25, 0, 0], [0, 562.5, 0], [319.5, 239.5, 1]]),
        "mask_invalid": counted.astype(np.uint8),
        "mask_transp": np.ones_like(counted, np.uint8),
    }
    root.mkdir(parents=True)
    scipy.io.savemat(root / "corridor_01.mat", {"data": data})
    return Miniature(folder, "ibims", "ibims", "corridor_01", draw(7), depth_m, counted, 561.25)


def diode(folder: Path, *, known: bool = True) -> Miniature:
    stem = folder / "val/indoors/scene_00019/scan_00183/00019_00183_indoors_000_010"
    depth_m = depths(known)
    counted = everywhere(depth_m)
    counted[1, 2:5] = False
    picture = save(stem.with_name(f"{stem.name}.png"), draw(8))
    depth = stem.with_name(f"{stem.name}_depth.npy")
    np.save(depth, depth_m.astype(np.float32)[:, :, None])
    np.save(stem.with_name(f"{stem.name}_depth_mask.npy"), counted.astype(np.float32))
    sample = stem.relative_to(folder).as_posix()
    return Miniature(folder, "diode", "diode", sample, draw(8), depth_m, counted, 886.81, picture, depth)


def booster(folder: Path, *, known: bool = True) -> Miniature:
    scene = folder / "train/balanced/Bathroom"
    focal_px, baseline_mm = 512.0, 125.0
    depth_m = depths(known)
    disparity = np.divide(focal_px * baseline_mm / 1000, depth_m, out=np.zeros_like(depth_m), where=depth_m > 0)
    picture = save(scene / "camera_00/im0.png", draw(9))
    depth = scene / "disp_00.npy"
    np.save(depth, disparity.astype(np.float32))
    calibration = write(
        scene / "calib_00-02.xml",
        f"""<?xml version="1.0"?>
<opencv_storage>
<mtxL type_id="opencv-matrix"><rows>3</rows><cols>3</cols><dt>d</dt>
  <data>999. 0. 6. 0. 999. 4. 0. 0. 1.</data></mtxL>
<proj_matL type_id="opencv-matrix"><rows>3</rows><cols>4</cols><dt>d</dt>
  <data>{focal_px} 0. 6. 0. 0. {focal_px} 4. 0. 0. 0. 1. 0.</data></proj_matL>
<baselineLR>{baseline_mm}</baselineLR>
</opencv_storage>
""",
    )
    known_pixels = disparity.astype(np.float32).astype(np.float64)
    expected = np.divide(focal_px * 0.125, known_pixels, out=np.zeros_like(depth_m), where=known_pixels > 0)
    return Miniature(
        folder, "booster", "booster", "train/balanced/Bathroom/camera_00/im0", draw(9), expected, everywhere(depth_m),
        focal_px, picture, depth, calibration,
    )  # fmt: skip


def eth3d(folder: Path, *, known: bool = True) -> Miniature:
    scene = folder / "courtyard"
    depth_m = depths(known)
    stored = np.where(depth_m > 0, depth_m, np.inf).astype("<f4")
    # The publishers' pictures are JPEGs; a PNG's content under that name keeps the pixels as they were drawn.
    save(folder / "lossless.png", draw(10))
    picture = write(scene / "images/dslr_images/DSC_0286.JPG", (folder / "lossless.png").read_bytes())
    (folder / "lossless.png").unlink()
    depth = write(scene / "ground_truth_depth/dslr_images/DSC_0286.JPG", stored.tobytes())
    parameters = "3410.02 6 4 0.21 0.21 0 0 -0.15 0.4 0 0"
    calibration = write(
        scene / "dslr_calibration_jpg/cameras.txt",
        "# Camera list with one line of data per camera:\n#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n"
        f"0 THIN_PRISM_FISHEYE {WIDTH} {HEIGHT} 3411.42 {parameters}\n"
        f"3 THIN_PRISM_FISHEYE {WIDTH} {HEIGHT} 3399.25 {parameters}\n",
    )
    write(
        scene / "dslr_calibration_jpg/images.txt",
        "# Image list with two lines of data per image:\n"
        "21 1 0 0 0 0 0 0 0 dslr_images/DSC_0285.JPG\n1.5 2.5 -1 3.5 4.5 17\n"
        "22 1 0 0 0 0 0 0 3 dslr_images/DSC_0286.JPG\n\n",
    )
    return Miniature(
        folder, "eth3d", "eth3d", "courtyard/DSC_0286", draw(10), depth_m, everywhere(depth_m), 3399.25,
        picture, depth, calibration,
    )  # fmt: skip


def void(folder: Path, *, known: bool = True) -> Miniature:
    depth_m = depths(known)
    depth_m[1] = (np.array([0.1, 0.19, 0.2, 1, 2, 3, 4, 4.5, 5, 5.01, 6, 40]) * 256).round() / 256 * known
    sequence = folder / "data/birthplace_of_internet"
    picture = save(sequence / "image/1552097970.0.png", draw(11))
    depth = save(sequence / "ground_truth/1552097970.0.png", units(depth_m, 256))
    calibration = write(sequence / "K.txt", "5.25e+02 0.0 3.2e+02\n0.0 5.25e+02 2.4e+02\n0.0 0.0 1.0\n")
    return Miniature(
        folder, "void", "void", "birthplace_of_internet/1552097970.0", draw(11), depth_m,
        (depth_m >= 0.2) & (depth_m <= 5), 525.0, picture, depth, calibration,
    )  # fmt: skip


def sunrgbd(folder: Path, *, known: bool = True) -> Miniature:
    millimetres = units(depths(known), 1000)
    millimetres[1, :3] = np.array([9_999, 10_000, 20_000]) * known  # beyond 10 m nothing counts
    frame = folder / "kv1/NYUdata/NYU0001"
    picture = save(frame / "image/NYU0001.png", draw(12))
    # The publishers' files hold the bits of the millimetres turned left by three; read3dPoints.m turns them back.
    depth = save(frame / "depth/NYU0001.png", ((millimetres << 3) | (millimetres >> 13)).astype(np.uint16))
    calibration = write(frame / "intrinsics.txt", "518.857901 0.0 284.582449 0.0 519.469611 208.736166 0.0 0.0 1.0 \n")
    return Miniature(
        folder, "sunrgbd", "sunrgbd", "kv1/NYUdata/NYU0001", draw(12), millimetres / 1000, millimetres < 10_000,
        518.857901, picture, depth, calibration,
    )  # fmt: skip


WRITERS: tuple[Writer, ...] = (
    plain, nyuv2, kitti, tum, middlebury, sintel, ibims, ibims_mat, diode, booster, eth3d, void, sunrgbd,
)  # fmt: skip
OF_FILES: tuple[Writer, ...] = tuple(writer for writer in WRITERS if writer not in (nyuv2, ibims_mat))
CALIBRATED: tuple[Writer, ...] = (kitti, middlebury, sintel, ibims, booster, eth3d, void, sunrgbd)
