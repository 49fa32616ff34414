"""The sizes that a configuration asks for, in words, for people."""

from __future__ import annotations

from archgrad import spaces
from archgrad.settings.config import SearchConfig

IMAGES = {"channels": "channels", "cells": "cells"}
TEXT = {"hidden": "hidden units", "nodes": "nodes"}


def sizes(search: SearchConfig) -> list[str]:
    """How large the networks of a search are, as far as a line has room for it.

    >>> sizes(SearchConfig())
    ['16 channels', '8 cells']
    """
    known = spaces.options(search.space) if search.space in spaces.SPACES else []
    words = TEXT if TEXT.keys() <= set(known) else IMAGES
    return [f"{getattr(search, option)} {word}" for option, word in words.items()]
