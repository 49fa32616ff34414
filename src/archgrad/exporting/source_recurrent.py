"""The part of `archgrad.exporting.source` that writes language models with a recurrent cell."""

from __future__ import annotations

from torch import Tensor

from archgrad.architecture import Cell
from archgrad.exporting.source_parts import broken
from archgrad.networks.recurrent import INITIAL, LanguageModel

VOCABULARY = "vocabulary.json"
ACTIVATIONS = {name: f"torch.{name}" for name in ("tanh", "relu", "sigmoid")}
ACTIVATIONS["identity"] = "identity"

IDENTITY = '''
def identity(x: Tensor) -> Tensor:
    """The argument."""
    return x
'''
HIGHWAY = '''
def highway(state: Tensor, product: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """(B, H), (B, 2H) -> (B, H): the state, or where the gate is open the activation."""
    gate, candidate = product.chunk(2, dim=-1)
    return state + torch.sigmoid(gate) * (activation(candidate) - state)


def matrix(rows: int, columns: int) -> nn.Parameter:
    """Weights that begin uniform around 0."""
    return nn.Parameter(torch.empty(rows, columns).uniform_(-{initial}, {initial}))
'''
MODEL = '''
class {name}(nn.Module):
    """A language model: tokens (T, B), state (B, {hidden}) -> logits (T, B, {words}), state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = matrix({words}, {hidden})  # the decoder's too
        self.cell = Cell()
        self.bias = nn.Parameter(torch.zeros({words}))

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if state is None:
            state = self.embedding.new_zeros(tokens.shape[1], {hidden})
        outputs = []
        for x in F.embedding(tokens, self.embedding):
            state = self.cell(x, state)
            outputs.append(state)
        return F.linear(torch.stack(outputs), self.embedding, self.bias), state
'''
WORDS = '''
def vocabulary() -> list[str]:
    """The words by their numbers."""
    path = Path(__file__).with_name("{file}")
    return json.loads(path.read_text(encoding="utf-8"))
'''
MAIN = '''
def sample(network: {name}, length: int, first: int = 0) -> list[int]:
    """So many tokens that go on from `first`, each drawn as probable as the network has it."""
    tokens, state = torch.tensor([[first]]), None
    found = []
    with torch.no_grad():
        for _ in range(length):
            logits, state = network(tokens, state)
            tokens = torch.multinomial(logits[0].softmax(dim=-1), 1)
            found.append(int(tokens))
    return found


if __name__ == "__main__":
    print(__doc__)
    {words}found = sample(load(), length=20)
    print("a sample:", *{shown})
'''
INTRODUCTION = """{name}: a language model, written by archgrad {version}; it needs torch alone.

{facts}

    from model import load
    network = load()                # eval mode, with the weights in model.safetensors beside it
    logits, state = network(tokens)        # (T, B) int64 -> (T, B, {sizes.classes}) and (B, {sizes.hidden})
    logits, state = network(more, state)   # goes on where the text stopped

Token by token is the same: see sample(). How well a text (T, 1) is predicted, as a perplexity:

    logits, state = network(text[:-1])
    perplexity = F.cross_entropy(logits.flatten(0, 1), text[1:].flatten()).exp()
{words}
It is for inference and for training further: it has no dropout, in training mode neither.
"""  # noqa: E501
ENCODED = """
The numbers of words: vocabulary() has them in order, of vocabulary.json beside this file:

    numbers = {word: number for number, word in enumerate(vocabulary())}
    text = torch.tensor([[numbers[word]] for word in words])
"""


def recurrent(name: str, cell: Cell, model: LanguageModel) -> list[str]:
    """The functions and classes of the network."""
    words, hidden = model.embedding.shape
    sizes = {"name": name, "words": words, "hidden": hidden}
    first = [IDENTITY] * ("identity" in cell.operations)
    highway = HIGHWAY.format(initial=INITIAL)
    return [*first, highway, _cell(cell, hidden), MODEL.format(**sizes)]


def ending(name: str, known: bool) -> list[str]:
    """What follows the function `load`; `known`: whether the vocabulary is written too."""
    words = "words = vocabulary()\n    " * known
    shown = "(words[token] for token in found)" if known else "found"
    main = MAIN.format(name=name, words=words, shown=shown)
    return [*[WORDS.format(file=VOCABULARY)] * known, main]


def recurrent_weights(model: LanguageModel) -> dict[str, Tensor]:
    """The weights under the names of the written classes."""
    found = {"embedding": model.embedding, "bias": model.bias, "cell.node0": model.cell.first}
    nodes = {f"cell.node{i}": w for i, w in enumerate(model.cell.weights, start=1)}
    return {**found, **nodes}


def _cell(cell: Cell, hidden: int) -> str:
    """The class, node by node."""
    edges = [(i, *edge) for i, (edge,) in enumerate(cell.nodes, start=1)]
    mean = broken("total =", [f"node{node}" for node in cell.output])
    lines = [
        "class Cell(nn.Module):",
        f'    """An input and a hidden state, (B, {hidden}) each -> the next hidden state."""',
        "",
        "    def __init__(self) -> None:",
        "        super().__init__()",
        f"        self.node0 = matrix({2 * hidden}, {2 * hidden})",
        *(f"        self.node{node} = matrix({hidden}, {2 * hidden})" for node, _, _ in edges),
        "",
        "    def forward(self, x: Tensor, h: Tensor) -> Tensor:",
        "        node0 = highway(h, torch.cat([x, h], dim=-1) @ self.node0, torch.tanh)",
        *(
            f"        node{node} = "
            f"highway(node{source}, node{source} @ self.node{node}, {ACTIVATIONS[operation]})"
            for node, operation, source in edges
        ),
        *mean,
        f"        return total / {len(cell.output)}",
    ]
    return "\n".join(lines)
