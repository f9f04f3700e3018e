"""Which frames are meant, and what is read of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from edgedepth.core.errors import OptionError, PhotoError
from edgedepth.labelling.frames import FrameReader, list_frames
from edgedepth.photos import read_photo

from .conftest import encoded


def names(sources: list[str]) -> list[str]:
    return [Path(ref.name).name for ref in list_frames(sources)]


def test_a_folder_with_its_subfolders_without_hidden_ones(photos: Path) -> None:
    assert names([str(photos)]) == ["a.png", "b.jpg", "c.png", "same as a.png", "broken.jpg"]


def test_globs_and_what_is_meant_twice(photos: Path) -> None:
    assert names([f"{photos}/**/*.png", str(photos / "a.png")]) == ["a.png", "c.png", "same as a.png"]


def test_a_picture_is_read_as_infer_reads_it(photos: Path) -> None:
    [ref] = list_frames([str(photos / "b.jpg")])
    frame, photo = FrameReader().read(ref), read_photo(photos / "b.jpg")
    assert np.array_equal(frame.pixels_rgb, photo.pixels_rgb)
    assert frame.focal_px == photo.focal_px is not None
    assert frame.sha256 == hashlib.sha256((photos / "b.jpg").read_bytes()).hexdigest()


def test_a_tar_shard(shard: Path) -> None:
    first, second = list_frames([str(shard)])
    assert (Path(first.name).name, Path(second.name).name) == ("0001.tar#x.png", "0001.tar#y.jpg")
    reader = FrameReader()
    assert reader.read(first).sha256 == hashlib.sha256(encoded(7)).hexdigest()
    assert reader.read(second).focal_px is not None


@pytest.mark.parametrize("nested", [False, True], ids=["bytes", "as Hugging Face has it"])
def test_a_parquet_shard(tmp_path: Path, nested: bool) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow (the extra label) reads parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow (the extra label) reads parquet")
    contents = [encoded(seed) for seed in range(5)]
    column = [{"bytes": content, "path": None} for content in contents] if nested else contents
    parquet.write_table(arrow.table({"id": range(5), "image": column}), tmp_path / "a.parquet", row_group_size=2)
    refs = list_frames([str(tmp_path / "a.parquet")])
    reader = FrameReader()
    assert [reader.read(ref).sha256 for ref in refs] == [hashlib.sha256(content).hexdigest() for content in contents]


def test_a_parquet_file_without_pictures(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow (the extra label) reads parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow (the extra label) reads parquet")
    parquet.write_table(arrow.table({"id": [1]}), tmp_path / "a.parquet")
    [ref] = list_frames([str(tmp_path / "a.parquet")])
    with pytest.raises(PhotoError, match="has the columns id"):
        FrameReader().read(ref)


def test_a_videos_frames_in_any_order(video: Path) -> None:
    refs = list_frames([str(video)])
    assert len(refs) == 5
    reader = FrameReader()
    greys = [reader.read(refs[number]).pixels_rgb.mean() for number in (0, 2, 4, 1)]
    assert np.allclose(greys, [0, 100, 200, 50], atol=2)  # MJPEG rounds


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent.png", None, "there is no"),
        ("notes.txt", b"words", "of no known kind"),
        ("a.tar", bytes(10240), "holds no frames"),
        ("*.png", None, "holds no frames"),
    ],
)
def test_sources_that_are_none(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(OptionError, match=said):
        list_frames([str(tmp_path / name)])


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.tar", b"no tar" * 200, "not a tar shard"),
        ("x.parquet", b"no parquet", "not a parquet file"),
        ("x.mp4", b"no video" * 200, "no video that can be decoded"),
        # FFmpeg would play both by their content: other files, and addresses
        ("x.mp4", b"ffconcat version 1.0\nfile clip.avi\n", "no video that can be decoded"),
        ("x.ts", PLAYLIST, "no video that can be decoded"),
    ],
)
def test_a_damaged_container_is_one_bad_frame(
    tmp_path: Path, video: Path, name: str, content: bytes, said: str
) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="pyarrow (the extra label) reads parquet")
    (tmp_path / name).write_bytes(content)
    (tmp_path / "a.png").write_bytes(encoded(1))
    refs = list_frames([str(tmp_path)])
    assert [Path(ref.name).name for ref in refs] == ["a.png", *(f"clip.avi#{number}" for number in range(5)), name]
    with pytest.raises(PhotoError, match=said):
        FrameReader().read(refs[-1])


@pytest.mark.parametrize("damage", ["in a header", "between members", "another header"])
def test_a_shard_that_ends_early_gives_what_it_has(shard: Path, damage: str) -> None:
    whole, end = shard.read_bytes(), 512 + 512 * -(-len(encoded(7)) // 512)
    rest = {"in a header": whole[end : end + 99], "another header": b"?" * 512 + whole[end + 512 :]}
    shard.write_bytes(whole[:end] + rest.get(damage, b""))
    refs = list_frames([str(shard)])
    assert [Path(ref.name).name for ref in refs] == ["0001.tar#x.png", "0001.tar"]
    assert FrameReader().read(refs[0]).sha256 == hashlib.sha256(encoded(7)).hexdigest()
    with pytest.raises(PhotoError, match="not a tar shard"):
        FrameReader().read(refs[1])


def test_globs_of_folders(photos: Path, tmp_path: Path) -> None:
    assert names([f"{tmp_path}/ph*"]) == names([str(photos)])


def test_rows_in_any_order_and_around_a_damaged_group(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow (the extra label) reads parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow (the extra label) reads parquet")
    contents = [encoded(seed) for seed in range(70)]  # more than are decoded at a time
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"image": contents}), path, row_group_size=40, use_dictionary=False)
    reader = FrameReader()
    refs = list_frames([str(path)])
    for number in (0, 1, 39, 40, 69, 5, 41, 17):
        assert reader.read(refs[number]).sha256 == hashlib.sha256(contents[number]).hexdigest()
    data = bytearray(path.read_bytes())
    data[4:40] = bytes(36)  # the first page's header
    path.write_bytes(data)
    refs = list_frames([str(path)])
    for number in (3, 4):
        with pytest.raises(PhotoError, match=rf"can't be read at row {number}: \S"):
            reader.read(refs[number])
    assert reader.read(refs[55]).sha256 == hashlib.sha256(contents[55]).hexdigest()


def test_more_than_a_picture_can_have_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(10 << 30)  # of zeros that take no room
    [ref] = list_frames([str(tmp_path)])
    with pytest.raises(PhotoError, match="no such file has more than"):
        FrameReader().read(ref)


def test_a_file_that_changed_since_it_was_listed(photos: Path) -> None:
    [ref] = list_frames([str(photos / "a.png")])
    (photos / "a.png").write_bytes(encoded(9))
    with pytest.raises(PhotoError, match="has changed"):
        FrameReader().read(ref)


def test_a_shard_cut_short(shard: Path) -> None:
    refs = list_frames([str(shard)])
    shard.write_bytes(shard.read_bytes()[:600])
    with pytest.raises(PhotoError, match="has changed"):
        FrameReader().read(refs[1])
