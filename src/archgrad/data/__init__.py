"""Labeled images for a search: named data sets, and whatever arrays or loaders the user brings."""

from archgrad.data.arrays import ArraySource
from archgrad.data.base import Augmentation, Batch, Batches, Normalization, Source
from archgrad.data.dataset import Data
from archgrad.data.loading import DATASETS, as_data, load
from archgrad.data.stream import StreamSource
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
    "as_data",
    "load",
]
