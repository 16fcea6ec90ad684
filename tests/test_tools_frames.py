"""Frames of videos, written by a lossless codec so that every level can be compared."""

import math

import cv2
import numpy as np
import pytest
from files import photograph

from darkroom.__main__ import main
from darkroom.core.errors import DataError
from darkroom.data.images import read
from darkroom.filters.resize import resize_uint8
from darkroom.tools import frames as frames_module
from darkroom.tools.frames import FrameSettings, frames
from darkroom.tools.work import Workers

QUIET = Workers(jobs=2, progress=False, say=lambda text: None)
RATE = 10
CODEC = "FFV1"


def record(path, images, codec=CODEC):
    height, width = images[0].shape[:2]
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), RATE, (width, height))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV has no codec {codec}")
    for image in images:
        writer.write(np.ascontiguousarray(image[:, :, ::-1]))
    writer.release()
    return path


def decoded(path):
    """All frames, RGB, as a plain loop gives them: the codec may convert colours."""
    video, found = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        found.append(read[1][:, :, ::-1])
    return found


def moving(count, height=50, width=70):
    """A scene that pans by four pixels from frame to frame."""
    wide = photograph(height, width + 4 * count)
    return [wide[:, 4 * n : 4 * n + width] for n in range(count)]


def written(folder):
    return {p.relative_to(folder).as_posix(): read(p).pixels for p in sorted(folder.rglob("*.png"))}


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return record(tmp_path_factory.mktemp("film") / "film.avi", moving(25))


def test_frames_are_those_of_the_video(film, tmp_path):
    report = frames([film], tmp_path / "out", workers=QUIET)
    assert [job.source for job in report.done] == [film]
    found, expected = written(tmp_path / "out"), decoded(film)
    assert [*found] == [f"HR/film/{n:06d}.png" for n in range(25)]
    assert all((a == b).all() for a, b in zip(found.values(), expected, strict=True))
    original = moving(25)
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(found.values(), original, strict=True)) < 8


def test_every_so_manyth_between_two_times(film, tmp_path):
    frames([film], tmp_path / "out", FrameSettings(every=4, start=0.5, end=1.8), workers=QUIET)
    assert [name[-10:-4] for name in written(tmp_path / "out")] == ["000005", "000009", "000013", "000017"]
    frames([film], tmp_path / "tail", FrameSettings(start=2.3, end=9), workers=QUIET)
    assert [name[-10:-4] for name in written(tmp_path / "tail")] == ["000023", "000024"]


def test_frames_that_are_nearly_the_one_before_are_left_out(tmp_path):
    a, b = photograph(50, 70), photograph(50, 70, seed=1)
    rng = np.random.default_rng(0)
    still = [np.clip(a + rng.normal(0, 2, a.shape), 0, 255).astype(np.uint8) for _ in range(6)]
    scenes = [*still, b, b, *moving(3), a, a]
    film = record(tmp_path / "film.avi", scenes)
    frames([film], tmp_path / "out", FrameSettings(min_change=4), workers=QUIET)
    assert [int(name[-10:-4]) for name in written(tmp_path / "out")] == [0, 6, 8, 9, 10, 11]


def test_pairs_by_downscaling(film, tmp_path):
    frames([film], tmp_path / "out", FrameSettings(every=12, scale=4, kernel="lanczos3"), workers=QUIET)
    found, whole = written(tmp_path / "out"), decoded(film)
    assert [*found] == [f"{kind}/film/{n:06d}.png" for kind in ("HR", "LR") for n in (0, 12, 24)]
    for n in (0, 12, 24):
        high = whole[n][:48, :68]
        assert (found[f"HR/film/{n:06d}.png"] == high).all()
        assert (
            found[f"LR/film/{n:06d}.png"] == resize_uint8(np.ascontiguousarray(high), 1 / 4, kernel="lanczos3")
        ).all()


def test_pairs_of_two_videos(tmp_path):
    large = moving(9, 48, 64)
    small = [np.ascontiguousarray(image[::2, ::2]) for image in large]
    film, low = record(tmp_path / "film.avi", large), record(tmp_path / "dvd.avi", small)
    settings = FrameSettings(every=2, min_change=1)
    frames([film], tmp_path / "out", settings, [low], QUIET)
    found, whole, half = written(tmp_path / "out"), decoded(film), decoded(low)
    assert [*found] == [f"{kind}/film/{n:06d}.png" for kind in ("HR", "LR") for n in range(0, 9, 2)]
    for n in range(0, 9, 2):
        assert (found[f"HR/film/{n:06d}.png"] == whole[n]).all()
        assert (found[f"LR/film/{n:06d}.png"] == half[n]).all()

    short = record(tmp_path / "short.avi", small[:7])
    report = frames([film], tmp_path / "short", settings, [short], QUIET)
    assert (
        report.failed[0].reason == "it goes on after 7 frames, its second video ends: expected two of the same length"
    )
    assert len(written(tmp_path / "short")) == 2 * 4
    report = frames([film], tmp_path / "size", settings, [record(tmp_path / "odd.avi", moving(9, 20, 30))], QUIET)
    assert report.failed[0].reason == "it is 64x48, its second video 30x20: expected a whole multiple"


def test_damaged_videos_are_named_and_the_others_are_done(film, tmp_path):
    data = film.read_bytes()
    for name, contents in (("text.avi", b"no video"), ("empty.mp4", b""), ("cut.avi", data[: len(data) // 2])):
        (tmp_path / name).write_bytes(contents)
    bad = [tmp_path / name for name in ("text.avi", "empty.mp4", "cut.avi")]
    report = frames([*bad, film], tmp_path / "out", FrameSettings(every=3), workers=QUIET)
    reasons = {f.source.name: f.reason for f in report.failed}
    assert {*reasons} == {"text.avi", "empty.mp4", "cut.avi"}
    assert reasons["text.avi"] == f"{tmp_path / 'text.avi'} cannot be read as a video"
    assert "is it damaged?" in reasons["cut.avi"] or "cannot be" in reasons["cut.avi"]
    assert len([name for name in written(tmp_path / "out") if "/film/" in name]) == 9


def test_a_second_run_does_nothing_and_what_is_missing_comes_back(film, tmp_path, monkeypatch):
    frames([film], tmp_path / "out", FrameSettings(every=5), workers=QUIET)
    before = written(tmp_path / "out")
    (tmp_path / "out/HR/film/000010.png").unlink()
    made = []
    monkeypatch.setattr(frames_module, "write", lambda path, image: made.append(path.name) or real(path, image))
    from darkroom.data.images import write as real

    assert len(frames([film], tmp_path / "out", FrameSettings(every=5), workers=QUIET).done) == 1
    assert made == ["000010.png"]
    assert all((a == b).all() for a, b in zip(written(tmp_path / "out").values(), before.values(), strict=True))
    monkeypatch.setattr(frames_module.cv2, "VideoCapture", None)  # the video is not opened
    assert len(frames([film], tmp_path / "out", FrameSettings(every=5), workers=QUIET).skipped) == 1
    with pytest.raises(DataError, match="made with every 5, now 6"):
        frames([film], tmp_path / "out", FrameSettings(every=6), workers=QUIET)


def test_a_run_that_stopped_trusts_its_frames_and_no_others(film, tmp_path, monkeypatch):
    """Frames are there, of this video or of another one by this name, but no run has come to the end."""
    copy = tmp_path / "film.avi"
    copy.write_bytes(film.read_bytes())
    monkeypatch.setattr(frames_module.Journal, "wrote", lambda *a: None)
    frames([copy], tmp_path / "out", FrameSettings(every=5), workers=QUIET)
    made = []
    monkeypatch.setattr(frames_module, "write", lambda path, image: made.append(path.name))
    frames([copy], tmp_path / "out", FrameSettings(every=5), workers=QUIET)
    assert made == []
    record(copy, moving(25)[::-1])
    frames([copy], tmp_path / "out", FrameSettings(every=5), workers=QUIET)
    assert sorted(made) == [f"{n:06d}.png" for n in range(0, 25, 5)]


def test_times_beyond_the_video_and_videos_of_one_name_are_told(film, tmp_path):
    late = frames([film], tmp_path / "late", FrameSettings(start=1000.0), workers=QUIET)
    assert [failure.reason for failure in late.failed] == ["it has no frame between start and end"]
    for wrong in ({"start": math.inf}, {"end": math.inf}, {"start": math.nan}):
        with pytest.raises(ValueError, match="expected"):
            FrameSettings(**wrong)
    (tmp_path / "other").mkdir()
    other = record(tmp_path / "other" / film.name, moving(3))
    frames([film], tmp_path / "out", workers=QUIET)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
    with pytest.raises(DataError, match="would take the place of those of other files"):
        frames([other], tmp_path / "out", workers=QUIET)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")} == before


def test_the_command_of_frames(film, tmp_path, capsys):
    command = ["frames", "-i", str(film), "-o", str(tmp_path / "out"), "--every", "10"]
    assert main([*command, "--scale", "2"]) == 0
    assert len(written(tmp_path / "out")) == 6
    assert main([*command, "--scale", "2", "--low", str(film)]) == 2
    assert main([*command, "--start", "2", "--end", "1"]) == 2
    assert main([*command, "--kernel", "sink"]) == 2
    assert main(["frames", "-i", str(tmp_path / "none.avi"), *command[3:]]) == 1
    assert f"there is no {tmp_path / 'none.avi'}" in capsys.readouterr().err
    assert main(["frames", "-i", str(film), str(film), *command[3:]]) == 1
    assert "several videos are called film" in capsys.readouterr().err
    assert main(["frames", "-i", str(film), "-o", str(film.parent)]) == 1
