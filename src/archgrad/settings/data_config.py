"""The options of the data: where images or text come from, and how they are read; no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from archgrad.settings.section import Section


class DataConfig(Section):
    """Where the images, or the text, come from."""

    data: str = Field(
        "digits",
        description="data set: digits, cifar10, cifar100, npz:FILE or folder:DIR; text: ptb, "
        "text:DIR, text:TRAIN,VALID,TEST or grammar (see archgrad data)",
    )
    data_root: str | None = Field(
        None, description="folder that holds the data set, for cifar10, cifar100 and ptb"
    )
    dims: int = Field(
        2,
        ge=1,
        le=3,
        description="of what npz files and arrays hold: 1 signals (N, C, length), 2 images, 3 "
        "volumes (N, C, depth, height, width)",
    )
    image_size: int | None = Field(
        None, ge=1, description="resize to this many pixels a side [none: as stored]"
    )
    subset: int | None = Field(
        None,
        ge=1,
        description="use this many training images, class-balanced; of text so many first tokens "
        "[none: all]",
    )
    crop_padding: int | None = Field(
        None, ge=0, description="pad by this many pixels, crop back [none: the data set's own]"
    )
    flip: bool | None = Field(
        None, description="flip left and right at random [none: the data set's own]"
    )
    resized_crop: bool | None = Field(
        None,
        description="resize a random box of 8 to 100 % of the image to its size, in place of the "
        "padding unless that is given [none: the data set's own; on where a folder streams]",
    )
    color_jitter: float | None = Field(
        None,
        ge=0,
        le=1,
        description="random brightness, contrast, saturation and half as much hue, such as 0.4 "
        "[none: the data set's own]",
    )
    stream: Literal["auto", "on", "off"] = Field(
        "auto",
        description="on: images of a folder are read when needed (short side to 256/224 of "
        "image_size, the middle cut out); off: all at once, each squeezed to a square; auto: on "
        "where they take more than 1 GiB",
    )
    workers: int = Field(
        0, ge=0, description="processes that read a streamed folder; 0: the training's own"
    )
    data_timeout: float = Field(
        600.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds to wait for a batch of these processes; 0: for ever",
    )
    level: Literal["word", "character"] = Field(
        "word",
        description="of text: word: tokens are what white space parts, each line ends with <eos>; "
        "character: every character, line breaks too",
    )
    vocabulary: int | None = Field(
        None,
        ge=1,
        description="of text: keep this many most frequent tokens of the training part, the rest "
        "becomes <unk> [none: all]",
    )
    encoding: str = Field("utf-8", description="of files of text")
