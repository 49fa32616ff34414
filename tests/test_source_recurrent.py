"""The written language model: the same function, step by step or at once, by torch alone."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from archgrad.architecture import Architecture, Cell, published
from archgrad.exporting.rebuilding import TextSizes
from archgrad.exporting.source import source
from archgrad.exporting.trained import Trained, of_training
from archgrad.spaces.darts_rnn import CELL, NAME, OPERATIONS, DartsRNN
from exports import scrambled, text_score, well_written, written

WORDS = ("<eos>", "the", "cat", 'sa"t\\', "grün", "up")


def trained(
    hidden: int = 4, cell: Architecture | None = None, words: tuple[str, ...] | None = WORDS
) -> Trained:
    cell = published("DARTS_RNN_V2") if cell is None else cell
    space = DartsRNN(hidden, len(cell.cells[0].nodes), len(WORDS))
    network = scrambled(space.derive(cell))
    return of_training(cell, network, text_score(), [text_score()], words)


def tokens(steps: int = 5, batch: int = 3) -> Tensor:
    return torch.randint(len(WORDS), (steps, batch), generator=torch.Generator().manual_seed(1))


@st.composite
def cells(draw: st.DrawFn) -> Architecture:
    count = draw(st.integers(1, 14))
    nodes = tuple(
        ((draw(st.sampled_from(OPERATIONS[1:])), draw(st.integers(0, node - 1))),)
        for node in range(1, count + 1)
    )
    cell = Cell(name=CELL, inputs=1, nodes=nodes, output=tuple(range(1, count + 1)))
    return Architecture(space=NAME, cells=(cell,))


@settings(max_examples=10)
@given(cells(), st.integers(1, 3), st.booleans())
def test_it_is_the_language_model(cell: Architecture, hidden: int, known: bool) -> None:
    found, text = trained(hidden, cell, WORDS if known else None), tokens()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        network = written(found, Path(folder)).load()
        well_written(Path(folder) / "model.py")
        assert not network.training
        logits, state = network(text)
        expected, last = found.network(text)
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(state, last, rtol=0, atol=1e-6)
        assert float(expected.std()) > 0.01  # weights that would not matter could be lost
        again = network.train()(text[2:], network(text[:2])[1])[0]
        torch.testing.assert_close(again, logits[2:], rtol=0, atol=1e-6)


def test_the_cell_reads_as_one_would_write_it() -> None:
    nodes = ((("tanh", 0),), (("identity", 1),), (("relu", 1),), (("sigmoid", 3),))
    cell = Cell(name=CELL, inputs=1, nodes=nodes, output=(1, 2, 3, 4))
    found = trained(4, Architecture(space=NAME, cells=(cell,)))
    assert found.sizes == TextSizes(NAME, hidden=4, nodes=4, classes=6)
    text = source(found, found.sizes)
    assert (
        '''\
class Cell(nn.Module):
    """An input and a hidden state, (B, 4) each -> the next hidden state."""

    def __init__(self) -> None:
        super().__init__()
        self.node0 = matrix(8, 8)
        self.node1 = matrix(4, 8)
        self.node2 = matrix(4, 8)
        self.node3 = matrix(4, 8)
        self.node4 = matrix(4, 8)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        node0 = highway(h, torch.cat([x, h], dim=-1) @ self.node0, torch.tanh)
        node1 = highway(node0, node0 @ self.node1, torch.tanh)
        node2 = highway(node1, node1 @ self.node2, identity)
        node3 = highway(node1, node1 @ self.node3, torch.relu)
        node4 = highway(node3, node3 @ self.node4, torch.sigmoid)
        total = node1 + node2 + node3 + node4
        return total / 4
'''
        in text
    )
    assert "archgrad" not in text.split('"""', 2)[2]
    assert "def identity" in text
    plain = trained(cell=published("DARTS_RNN_V1"))
    assert plain.sizes is not None
    assert "class DartsRnnV1(nn.Module):" in source(plain, plain.sizes)


def test_the_docstring_says_what_is_known(tmp_path: Path) -> None:
    lines = (written(trained(), tmp_path).__doc__ or "").splitlines()
    facts = dict(line.split(maxsplit=1) for line in lines if line[:1].strip() and "  " in line[:14])
    assert facts["perplexity"] == "55.70, on 82,430 test tokens"
    assert facts["cost"] == "1,234 parameters, 56,789 multiply-adds for a token"
    assert facts["architecture"] == "DARTS_RNN_V2, as published"
    assert "images" not in facts


def test_embedding_and_decoder_are_one_weight(tmp_path: Path) -> None:
    found = trained()
    network = written(found, tmp_path).load()
    kept = load_file(tmp_path / "model.safetensors")
    nodes = [f"cell.node{i}" for i in range(9)]
    assert sorted(kept) == sorted(["embedding", "bias", *nodes])
    text = tokens()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    losses = []
    for _ in range(30):
        logits, _ = network(text[:-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), text[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_it_needs_torch_alone_and_shows_a_sample(tmp_path: Path) -> None:
    written(trained(), tmp_path)
    (tmp_path / "vocabulary.json").write_text(json.dumps(WORDS), encoding="utf-8")
    code = (
        "import runpy, sys\n"
        "for name in ('archgrad', 'safetensors', 'yaml', 'pydantic', 'scipy'):\n"
        "    sys.modules[name] = None\n"
        "runpy.run_path('model.py', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("a sample:")]
    drawn = line.removeprefix("a sample: ").split()
    assert len(drawn) == 20
    assert set(drawn) <= set(WORDS)


def test_without_its_words_it_shows_tokens() -> None:
    found = trained(words=None)
    assert found.sizes is not None
    text = source(found, found.sizes)
    assert "vocabulary" not in text
    assert 'print("a sample:", *found)' in text


def test_sampling_follows_the_network(tmp_path: Path) -> None:
    """With a bias that leaves one word alone, that word is drawn."""
    module = written(trained(), tmp_path)
    network = module.load()
    with torch.no_grad():
        network.bias.fill_(-math.inf)[3] = 0.0
    assert module.sample(network, length=7) == [3] * 7
