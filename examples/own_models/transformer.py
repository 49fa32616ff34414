"""A small causal transformer: what mixes the tokens, how wide and how deep it is are choices.

The task: say at each position which token stood two places before. Attention, convolution and
linear recurrence look back, "none" does not. ``--quick``: less of everything.
"""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archgrad

TOKENS, LENGTH, FEATURES, BACK = 8, 16, 24, 2
GUESS = (BACK + (LENGTH - BACK) / TOKENS) / LENGTH  # accuracy of one


def sequences(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random tokens, and the token of ``BACK`` places before (0 where there is none)."""
    tokens = torch.randint(TOKENS, (count, LENGTH), generator=torch.Generator().manual_seed(seed))
    return tokens, F.pad(tokens[:, :-BACK], (BACK, 0))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(FEATURES, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        future = torch.ones(LENGTH, LENGTH, dtype=torch.bool, device=x.device).triu(1)
        return self.attention(x, x, x, attn_mask=future, need_weights=False)[0]


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(FEATURES, FEATURES, 4, groups=FEATURES)  # of each feature alone

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x.transpose(1, 2), (3, 0))).transpose(1, 2)


class Recurrence(nn.Module):  # h(t) = decay h(t - 1) + x(t) for each feature, all steps at once
    def __init__(self) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.linspace(-2, 2, FEATURES))
        self.out = nn.Linear(FEATURES, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.arange(x.shape[1], device=x.device)
        apart = (steps.unsqueeze(1) - steps).unsqueeze(-1)
        powers = (F.logsigmoid(self.decay) * apart.clamp_min(0)).exp() * (apart >= 0)
        return self.out(torch.einsum("tsf,bsf->btf", powers, x))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        mixers = {"attention": Attention, "convolution": Convolution, "recurrence": Recurrence}
        self.mixer = archgrad.Choice({**mixers, "none": archgrad.Zero})
        layers = nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, FEATURES)
        self.feed_forward = archgrad.Width(layers, widths=[16, 32, 64])
        self.norms = nn.ModuleList(nn.LayerNorm(FEATURES) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norms[0](x))
        return x + self.feed_forward(self.norms[1](x))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, FEATURES)
        self.places = nn.Parameter(0.5 * torch.randn(LENGTH, FEATURES))
        self.blocks = archgrad.Repeat(Block, depths=[1, 2, 3], name="depth")
        self.head = nn.Linear(FEATURES, TOKENS)

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.blocks(self.embedding(tokens) + self.places)
        return self.head(states).transpose(1, 2)  # (B, tokens, places), as the loss has it


@torch.no_grad()
def evaluate(model: nn.Module) -> float:
    tokens, target = sequences(200, seed=2)
    return float((model.eval()(tokens).argmax(dim=1) == target).float().mean())


def main(quick: bool) -> tuple[archgrad.Architecture, nn.Module, float]:
    """What was found, the trained network, and the accuracy of a guess."""
    torch.manual_seed(0)
    tokens, target = sequences(600 if quick else 1600, seed=1)
    result = archgrad.search(
        Transformer(), train=(tokens, target), method_options={"alpha_learning_rate": 0.01},
        epochs=2 if quick else 25, batch_size=32, learning_rate=0.2, guard="off",
    )  # fmt: skip
    model = result.derive()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(5 if quick else 20):
        for batch, wanted in zip(tokens.split(32), target.split(32)):
            optimizer.zero_grad()
            F.cross_entropy(model(batch), wanted).backward()
            optimizer.step()
    print(f"{result.architecture}\naccuracy {evaluate(model):.3f}, of a guess {GUESS:.3f}")
    return result.architecture, model, GUESS


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
