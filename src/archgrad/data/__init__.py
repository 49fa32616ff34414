"""Labeled images and text: named data sets, and whatever arrays or loaders the user brings."""

from archgrad.data.arrays import ArraySource
from archgrad.data.base import Augmentation, Batch, Batches, Normalization, Source
from archgrad.data.dataset import Data
from archgrad.data.loading import DATASETS, as_data, load
from archgrad.data.stream import StreamSource
from archgrad.data.text import TextSource
from archgrad.data.textdata import text_data
from archgrad.data.torchdata import DatasetSource, LoaderSource

__all__ = [
    "DATASETS",
    "ArraySource",
    "Augmentation",
    "Batch",
    "Batches",
    "Data",
    "DatasetSource",
    "LoaderSource",
    "Normalization",
    "Source",
    "StreamSource",
    "TextSource",
    "as_data",
    "load",
    "text_data",
]
