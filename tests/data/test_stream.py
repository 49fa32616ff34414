"""Folders that stream: the same batches from any number of workers, and what is read of a file."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from archgrad.data import Augmentation, StreamSource, load
from archgrad.data import files as data_files
from archgrad.data.images import centered, randomly_cropped
from archgrad.data.photographs import crop_boxes
from archgrad.errors import ArchgradError
from archgrad.retraining.scratch import augmentation_of, load_data, retrain
from archgrad.searching.callbacks import Callback, EpochEnd
from archgrad.settings.data_config import DataConfig
from helpers import job as retraining
from helpers import same

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Color noise of several sizes: train and val, two classes, the label in the red channel."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for part, count in (("train", 7), ("val", 3)):
        for label, name in enumerate(("cat", "dög")):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (12 + index, 20 - index, 3), dtype=np.uint8)
                pixels[..., 0] = 200 * label
                Image.fromarray(pixels).save(root / part / name / f"{index}.png")
    return root


def source(folder: Path, workers: int = 0, side: int = 8) -> StreamSource:
    return StreamSource.of(folder / "train", side, workers)


RANDOM = Augmentation(crop_padding=1, flip=True, cutout=2, resized_crop=True, color_jitter=0.4)


def epoch(source: StreamSource, index: int = 0, **options: object) -> list[object]:
    chosen = {"shuffle": True, "augmentation": RANDOM, "normalization": None, "seed": 5, **options}
    return list(source.batches(4, **chosen).epoch(index))  # type: ignore[arg-type]


def test_batches_do_not_depend_on_the_number_of_workers(folder: Path) -> None:
    here = epoch(source(folder))
    assert [len(labels) for _, labels in here] == [4, 4, 4, 2]  # type: ignore[misc]
    for workers in (1, 2):
        assert same(here, epoch(source(folder, workers)))
    assert not same(here, epoch(source(folder), 1))
    assert not same(here, epoch(source(folder), seed=6))


def test_an_epoch_is_repeated_whatever_ran_before(folder: Path) -> None:
    batches = source(folder).batches(
        4, shuffle=True, augmentation=RANDOM, normalization=None, seed=5
    )
    state = torch.get_rng_state()
    next(batches.epoch(0))  # and left there
    first = list(batches.epoch(1))
    assert same(first, epoch(source(folder), 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert batches.exact_resume
    assert len(batches) == 4


def test_what_happens_to_an_image_does_not_depend_on_its_batch(folder: Path) -> None:
    def images(size: int) -> torch.Tensor:
        made = source(folder).batches(size, augmentation=RANDOM, normalization=None)
        return torch.cat([x for x, _ in made.epoch(0)])

    assert torch.equal(images(4), images(14))


def test_images_come_with_their_labels(folder: Path) -> None:
    found = source(folder)
    assert found.classes == ("cat", "dög")
    assert (len(found), found.shape) == (14, (3, 8, 8))
    for augmentation in (Augmentation(), Augmentation(resized_crop=True)):
        for x, y in epoch(found, augmentation=augmentation):  # type: ignore[misc]
            torch.testing.assert_close(x[:, 0, 4, 4], y * 200 / 255)
    part = found.subset([13, 2])
    assert part.labels.tolist() == [1, 0]
    assert [part.path(index).name for index in (0, 1)] == ["6.png", "2.png"]
    assert torch.equal(part.image(1), found.image(2))


def ramp(height: int, width: int) -> Image.Image:
    """Red rises along the rows, green along the columns."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(height)[:, None], np.arange(width)
    return Image.fromarray(pixels)


def test_the_short_side_is_resized_and_the_middle_cut_out() -> None:
    # 128 x 192 -> 128 x 192 (256/224 of 112), whose middle begins at row 8 and column 40
    out = np.array(centered(ramp(128, 192), 112))
    np.testing.assert_array_equal(out[:, 0, 0], np.arange(8, 120))
    np.testing.assert_array_equal(out[0, :, 1], np.arange(40, 152))
    for height, width in ((5, 90), (90, 5), (1, 1)):
        assert centered(ramp(height, width), 7).size == (7, 7)


def test_a_random_crop_is_the_drawn_box_resized() -> None:
    image = ramp(100, 160)
    for key in range(20):
        top, left, height, width = crop_boxes(torch.tensor([key]), 100, 160)[0].tolist()
        out = np.array(randomly_cropped(image, 16, key), dtype=float)
        rows = top + (np.arange(16) + 0.5) * height / 16 - 0.5
        columns = left + (np.arange(16) + 0.5) * width / 16 - 0.5
        inner = slice(2, -2)  # smoothing ends at the border of the box
        np.testing.assert_allclose(out[:, 5, 0][inner], rows[inner], atol=0.8)
        np.testing.assert_allclose(out[5, :, 1][inner], columns[inner], atol=0.8)


@pytest.mark.parametrize(
    "change", [{"resized_crop": False}, {"color_jitter": 0.0}, {"flip": False}]
)
def test_every_augmentation_changes_the_images(folder: Path, change: dict[str, object]) -> None:
    other = replace(RANDOM, **change)  # type: ignore[arg-type]
    assert not same(epoch(source(folder)), epoch(source(folder), augmentation=other))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_is_no_image_is_named(folder: Path, tmp_path: Path, workers: int) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "train" / "cat" / "3.png").write_bytes(b"text")
    with pytest.raises(ArchgradError, match=r"^\S*train/cat/3.png cannot be read as an image") as e:
        epoch(source(tmp_path / "copy", workers))
    assert "\n" not in str(e.value)


def test_a_folder_streams_where_it_is_told_to_or_is_large(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"folder:{folder}"
    for stream, expected in (("auto", False), ("off", False), ("on", True)):
        data = load(name, image_size=8, stream=stream)
        assert isinstance(data.train, StreamSource) == expected
        assert isinstance(data.test, StreamSource) == expected
        assert data.test is not None
        assert (len(data.train), len(data.test)) == (14, 6)
    monkeypatch.setattr(data_files, "_IN_MEMORY", 20 * 3 * 8 * 8)
    assert not isinstance(load(name, image_size=8).train, StreamSource)
    assert isinstance(load(name, image_size=9).train, StreamSource)
    assert not isinstance(load(name, image_size=9, stream="off").train, StreamSource)


def test_data_that_stream_are_cut_and_described_as_others(folder: Path) -> None:
    data = load(f"folder:{folder}", image_size=8, stream="on", workers=2, subset=8)
    assert data.augmentation == Augmentation(resized_crop=True)
    assert data.classes == ("cat", "dög")
    halves = data.split()
    for half in halves:
        assert isinstance(half, StreamSource)
        assert half.workers == 2
        assert torch.bincount(half.labels).tolist() == [2, 2]
    assert isinstance(data.train, StreamSource)
    x = torch.stack([data.train.image(index) for index in range(8)]).double() / 255
    assert data.normalization is not None
    assert data.normalization.mean == pytest.approx(x.mean((0, 2, 3)).tolist())
    assert data.normalization.std == pytest.approx(x.std((0, 2, 3), correction=0).tolist())
    alone = load(f"folder:{folder / 'train'}", image_size=8, stream="on")
    assert alone.test is not None
    assert (len(alone.train), len(alone.test)) == (11, 3)


def test_the_fingerprint_tells_other_files(folder: Path, tmp_path: Path) -> None:
    def found(root: Path, workers: int = 0) -> str:
        return load(f"folder:{root}", image_size=8, stream="on", workers=workers).fingerprint()

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    first = found(folder)
    assert found(copy, workers=1) == first
    ramp(9, 9).save(copy / "train" / "cat" / "3.png")
    assert found(copy) != first
    shutil.copy(folder / "train" / "cat" / "3.png", copy / "train" / "cat" / "3.png")
    assert found(copy) == first
    (copy / "train" / "cat" / "3.png").rename(copy / "train" / "cat" / "30.png")
    assert found(copy) != first


def test_test_comes_before_val(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.copytree(copy / "val", copy / "test")
    (copy / "test" / "cat" / "0.png").unlink()
    data = load(f"folder:{copy}", image_size=8)
    assert data.test is not None
    assert len(data.test) == 5


@pytest.mark.parametrize("stream", ["on", "off"])
def test_other_classes_in_val_are_told(folder: Path, tmp_path: Path, stream: str) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "val" / "cat").rename(tmp_path / "copy" / "val" / "ant")
    with pytest.raises(ArchgradError, match='"ant" is in only one of the train and val folders'):
        load(f"folder:{tmp_path / 'copy'}", image_size=8, stream=stream)


def test_options_that_fit_no_data_are_refused(folder: Path) -> None:
    with pytest.raises(ArchgradError, match='stream "yes" is not known'):
        load(f"folder:{folder}", image_size=8, stream="yes")
    with pytest.raises(ArchgradError, match="stream is on for digits, which is read at once"):
        load("digits", stream="on")
    with pytest.raises(ArchgradError, match="batch size 15"):
        source(folder).batches(15, shuffle=True, normalization=None)


def test_the_options_reach_the_data(folder: Path) -> None:
    config = DataConfig(data=f"folder:{folder}", image_size=8, stream="on", workers=3)
    data, augmentation = load_data(config)
    assert isinstance(data.train, StreamSource)
    assert data.train.workers == 3
    assert augmentation == Augmentation(resized_crop=True)
    small, usual = load_data(DataConfig(data=f"folder:{folder}", image_size=8))
    assert usual == Augmentation(crop_padding=1)

    def made(**options: object) -> Augmentation:
        return augmentation_of(small, DataConfig(**options))  # type: ignore[arg-type]

    assert made(resized_crop=True) == Augmentation(resized_crop=True)
    both = Augmentation(crop_padding=2, resized_crop=True)
    assert made(resized_crop=True, crop_padding=2) == both
    assert made(color_jitter=0.4, flip=True) == Augmentation(1, True, color_jitter=0.4)
    off = augmentation_of(data, DataConfig(resized_crop=False))
    assert off == Augmentation()


class SimulatedKill(BaseException):
    pass


def test_a_killed_retraining_of_a_stream_resumes_to_the_same_result(
    folder: Path, tmp_path: Path
) -> None:
    class Kill(Callback):
        def epoch_end(self, event: EpochEnd) -> None:
            raise SimulatedKill

    def made(place: Path | None = None) -> object:
        wanted = retraining(place, batch_size=7, channels=2)
        space = replace(wanted.space, in_channels=3, classes=2)  # type: ignore[type-var]
        return replace(wanted, space=space)

    data = load(f"folder:{folder}", image_size=8, stream="on")
    with pytest.raises(SimulatedKill):
        retrain(made(tmp_path), data, callback=Kill())
    workers = load(f"folder:{folder}", image_size=8, stream="on", workers=2)
    resumed = retrain(made(tmp_path), workers)[0]  # type: ignore[arg-type]
    whole = retrain(made(), data)[0]  # type: ignore[arg-type]
    assert {**resumed, "seconds": 0} == {**whole, "seconds": 0}
