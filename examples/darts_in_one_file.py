"""DARTS in one file: differentiable architecture search, short enough to read in one sitting.

Method: H. Liu, K. Simonyan, Y. Yang, "DARTS: Differentiable Architecture Search", ICLR 2019,
arXiv:1806.09055. Every edge of a cell holds all candidate operations at once, mixed by a softmax
over numbers called alpha. Gradient descent trains two things in turn: alpha on one half of the
data ("valid"), the weights w on the other ("train"). The strongest operations make the cell.

Needs torch and scikit-learn; searches on its digits (8x8 pixels) in minutes on one CPU core:
    python darts_in_one_file.py                            # second order, 5 epochs
    python darts_in_one_file.py --order 1 --epochs 10      # first order, 2.5 times as fast
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim import Optimizer

Batch = tuple[Tensor, Tensor]  # images (n, channels, height, width), labels (n,)
Tables = dict[str, Tensor]  # "normal" and "reduce": one row an edge, one column an operation

# --- The candidate operations: c channels to c channels; stride 2 halves height and width. ---

OPERATIONS = ["none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"]
OPERATIONS += ["sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"]


def norm(c: int) -> nn.Module:
    return nn.BatchNorm2d(c, affine=False)  # a learnable scale could undo what alpha says


def relu_conv_bn(c_in: int, c_out: int) -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(c_in, c_out, 1, bias=False), norm(c_out))


def separable(c: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    pad = dilation * (kernel // 2)
    depthwise = nn.Conv2d(c, c, kernel, stride, pad, dilation, groups=c, bias=False)
    pointwise = nn.Conv2d(c, c, 1, bias=False)
    return [nn.ReLU(), depthwise, pointwise, norm(c)]


class Zero(nn.Module):
    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class FactorizedReduce(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv2 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.bn = norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.bn(torch.cat([self.conv1(x), self.conv2(x[:, :, 1:, 1:])], dim=1))


def candidates(c: int, stride: int) -> nn.ModuleList:
    """All operations of one edge, in the order of OPERATIONS."""
    ops = [
        Zero(stride),
        nn.Sequential(nn.MaxPool2d(3, stride, 1), norm(c)),
        nn.Sequential(nn.AvgPool2d(3, stride, 1, count_include_pad=False), norm(c)),
        nn.Identity() if stride == 1 else FactorizedReduce(c, c),
    ]
    ops += [nn.Sequential(*separable(c, k, stride), *separable(c, k, 1)) for k in (3, 5)]
    ops += [nn.Sequential(*separable(c, k, stride, dilation=2)) for k in (3, 5)]
    return nn.ModuleList(ops)


# --- The supernet: one network that holds every architecture of the space. ---
def mix(ops: nn.ModuleList, weights: Tensor, x: Tensor) -> Tensor:
    """The heart of DARTS: instead of choosing one operation o, sum_o softmax(alpha)_o * o(x)."""
    return sum(w * op(x) for w, op in zip(weights, ops, strict=True))


class Cell(nn.Module):
    """States 0 and 1 come from the two previous cells; each node sums edges from all before it."""

    def __init__(self, c_pp: int, c_p: int, c: int, nodes: int, reduce: bool, after_reduce: bool):
        super().__init__()
        self.kind, self.nodes = "reduce" if reduce else "normal", nodes
        self.preprocess0 = FactorizedReduce(c_pp, c) if after_reduce else relu_conv_bn(c_pp, c)
        self.preprocess1 = relu_conv_bn(c_p, c)
        self.edges = nn.ModuleList()
        for node in range(nodes):
            for source in range(2 + node):
                self.edges.append(candidates(c, stride=2 if reduce and source < 2 else 1))

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor) -> Tensor:
        states, edge = [self.preprocess0(s0), self.preprocess1(s1)], 0
        for _ in range(self.nodes):
            inputs = [mix(self.edges[edge + j], weights[edge + j], s) for j, s in enumerate(states)]
            edge += len(inputs)
            states.append(sum(inputs))
        return torch.cat(states[2:], dim=1)


class Network(nn.Module):
    """Stem, cells (two of them reduction cells, which double the channels), classifier."""

    def __init__(self, channels: int, cells: int, nodes: int, in_channels: int, classes: int):
        super().__init__()
        c_pp, c_p, c, after_reduce = 3 * channels, 3 * channels, channels, False
        stem = nn.Conv2d(in_channels, c_p, 3, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(c_p))
        self.cells = nn.ModuleList()
        for index in range(cells):
            reduce = index in (cells // 3, 2 * cells // 3)
            c = 2 * c if reduce else c
            self.cells.append(Cell(c_pp, c_p, c, nodes, reduce, after_reduce))
            c_pp, c_p, after_reduce = c_p, nodes * c, reduce
        self.classifier = nn.Linear(c_p, classes)

    def forward(self, x: Tensor, weights: Tables) -> Tensor:
        """Logits (n, classes); weights are mixing weights (edges, 8) whose rows sum to 1."""
        s0 = s1 = self.stem(x)
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1, weights[cell.kind])
        return self.classifier(s1.mean(dim=(2, 3)))


# --- The search. alpha stays outside the module, so the weight optimizer never sees it. ---
def softmax(alpha: Tables) -> Tables:
    return {kind: table.softmax(dim=1) for kind, table in alpha.items()}


def predict(network: Network, w: list[Tensor], alpha: Tables, x: Tensor) -> Tensor:
    """Logits at the weights w; works on copied buffers, since BatchNorm updates its own."""
    state = {name: buffer.clone() for name, buffer in network.named_buffers()}
    state |= {name: p for (name, _), p in zip(network.named_parameters(), w, strict=True)}
    return torch.func.functional_call(network, state, (x, softmax(alpha)))


def gradient(network: Network, w: list[Tensor], alpha: Tables, batch: Batch, of: list) -> tuple:
    loss = F.cross_entropy(predict(network, w, alpha, batch[0]), batch[1])
    return torch.autograd.grad(loss, of, materialize_grads=True)


def first_order(network: Network, alpha: Tables, train_batch: Batch, valid_batch: Batch) -> Tables:
    """d L_valid(w, alpha) / d alpha, with w held fixed; train_batch is not used."""
    w, tables = list(network.parameters()), list(alpha.values())
    return dict(zip(alpha, gradient(network, w, alpha, valid_batch, of=tables), strict=True))


def second_order(network: Network, alpha: Tables, train_batch: Batch, valid_batch: Batch,
                 sgd: Optimizer) -> Tables:  # fmt: skip
    """d L_valid(w'(alpha), alpha) / d alpha, where w' is w after one SGD step on L_train.

    w' = w - xi * (grad_w L_train(w, alpha) + ...) depends on alpha, so the chain rule gives
        grad_alpha L_valid(w', alpha) - xi * [d2 L_train / d alpha d w] v,  v = grad_w' L_valid,
    and a central difference along v stands in for the product with the second derivative.
    """
    w, tables, group = list(network.parameters()), list(alpha.values()), sgd.param_groups[0]
    xi, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
    virtual = []  # w': what sgd.step() would make of w, without the clipping
    for p, g in zip(w, gradient(network, w, alpha, train_batch, of=w), strict=True):
        buffer = sgd.state.get(p, {}).get("momentum_buffer")
        velocity = g + decay * p + (0 if buffer is None else momentum * buffer)
        virtual.append((p - xi * velocity).detach().requires_grad_())

    both = gradient(network, virtual, alpha, valid_batch, of=tables + virtual)
    direct, v = both[: len(tables)], both[len(tables) :]
    eps = 0.01 / torch.cat([g.flatten() for g in v]).norm()  # one norm over all tensors
    up = [p + eps * g for p, g in zip(w, v, strict=True)]
    down = [p - eps * g for p, g in zip(w, v, strict=True)]
    d_up = gradient(network, up, alpha, train_batch, of=tables)
    d_down = gradient(network, down, alpha, train_batch, of=tables)
    rows = zip(alpha, direct, d_up, d_down, strict=True)
    return {kind: d - xi * (plus - minus) / (2 * eps) for kind, d, plus, minus in rows}


def search_step(network: Network, alpha: Tables, train_batch: Batch, valid_batch: Batch,
                sgd: Optimizer, adam: Optimizer, order: int) -> tuple[float, float]:  # fmt: skip
    """One step of alpha, then one of the weights; returns training loss and accuracy."""
    given = (network, alpha, train_batch, valid_batch)
    grads = first_order(*given) if order == 1 else second_order(*given, sgd)
    for kind, table in alpha.items():
        table.grad = grads[kind]
    adam.step()
    x, y = train_batch
    logits = network(x, {kind: table.detach() for kind, table in softmax(alpha).items()})
    loss = F.cross_entropy(logits, y)
    sgd.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    sgd.step()
    return loss.item(), (logits.argmax(dim=1) == y).float().mean().item()


def derive(alpha: Tables) -> dict[str, list[list[tuple[str, int]]]]:
    """For each node the (operation, source) of its two strongest edges, leaving out "none"."""
    cells: dict[str, list[list[tuple[str, int]]]] = {}
    for kind, table in softmax(alpha).items():
        strength, choice = table[:, 1:].max(dim=1)
        cells[kind], start = [], 0
        while start < len(table):
            edges = range(start, start + 2 + len(cells[kind]))
            best = sorted(edges, key=lambda e: -strength[e].item())[:2]
            cells[kind].append([(OPERATIONS[1 + int(choice[e])], e - start) for e in best])
            start = edges.stop
    return cells


def main(order: int, epochs: int, seed: int, nodes: int = 4, batch: int = 64) -> None:
    torch.manual_seed(seed)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16 - 0.5
    y = torch.tensor(digits.target)
    train, valid = torch.randperm(len(y)).chunk(2)
    network = Network(channels=8, cells=5, nodes=nodes, in_channels=1, classes=10)
    shape = (sum(range(2, 2 + nodes)), len(OPERATIONS))  # all cells of one kind share a table
    alpha = {kind: (1e-3 * torch.randn(shape)).requires_grad_() for kind in ("normal", "reduce")}
    sgd = torch.optim.SGD(network.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(alpha.values(), lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, epochs, eta_min=0.001)

    for epoch in range(1, epochs + 1):
        log = []
        shuffled = [half[torch.randperm(len(half))].split(batch)[:-1] for half in (train, valid)]
        for t, v in zip(*shuffled, strict=True):
            log.append(search_step(network, alpha, (x[t], y[t]), (x[v], y[v]), sgd, adam, order))
        cosine.step()
        loss, accuracy = torch.tensor(log).mean(dim=0).tolist()
        with torch.no_grad():
            logits = predict(network, list(network.parameters()), alpha, x[valid])
        valid_loss, hits = F.cross_entropy(logits, y[valid]), logits.argmax(dim=1) == y[valid]
        print(f"epoch {epoch}: train loss {loss:.3f}, accuracy {accuracy:.1%}; "
              f"valid loss {valid_loss:.3f}, accuracy {hits.float().mean():.1%}")  # fmt: skip

    for kind, cell in derive(alpha).items():
        print(f"{kind} cell (states 0 and 1 are the outputs of the two previous cells):")
        for node, inputs in enumerate(cell, start=2):
            print(f"  {node} = " + " + ".join(f"{name}({source})" for name, source in inputs))


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description="Search a cell on the digits with DARTS.")
    parser.add_argument("--order", type=int, choices=(1, 2), default=2)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
