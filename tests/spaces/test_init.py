"""The table of the spaces: names, options, and a line for each."""

from __future__ import annotations

import pytest

from archgrad.errors import ArchgradError
from archgrad.spaces import SPACES, options, space
from archgrad.spaces.darts_cnn import DartsCNN


def test_spaces_are_found_by_name() -> None:
    assert space("darts-cnn", channels=4) == DartsCNN(channels=4)
    with pytest.raises(ArchgradError, match=r'space "darts-cn" .* did you mean "darts-cnn"'):
        space("darts-cn")


def test_an_unknown_option_of_a_space_is_named() -> None:
    with pytest.raises(ArchgradError, match='option .* "chanels" .* did you mean "channels"'):
        space("darts-cnn", chanels=3)


def test_the_options_of_a_space() -> None:
    assert {"channels", "cells", "nodes", "edges_per_node", "imagenet"} <= set(options("s1"))
    assert "nodes" not in options("nas-bench-201")
    with pytest.raises(ArchgradError, match='space "s5" is not known'):
        options("s5")


@pytest.mark.parametrize("name", SPACES)
def test_every_space_has_a_line_with_its_paper(name: str) -> None:
    assert "(arXiv:" in (SPACES[name].__doc__ or "").split("\n")[0]
