"""A stand-in for imitator and critic: what a critic says of the picture of a face, told from the face's parameters alone.

To draw a face and to lead gradients back through the picture takes a hundred times longer than the last layers of R need to
learn from it, and a step that draws sixteen faces follows what is best for these sixteen. The stand-in is a small network from
parameters to the critic's embedding. It learns while R does, from faces that R answers now, and some beside them, which are
drawn without gradients; R learns through it from all photos of a batch at once. Where R would find what pleases the stand-in
and nobody else, R's next answers are drawn, the critic says what it sees, and the stand-in knows better.

With many processes each has its own stand-in, of other faces: the mean of their gradients is less easily deceived than one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import trange

from train.self_supervision import Parameters

WIDTH = 768
SCALES = (5.0, 2.0, 1 / 15)
"""Of sliders, action units and degrees: makes numbers of about 1."""
MEMORY = 1 << 16
"""Drawn faces that are remembered; then the oldest are forgotten."""
RECENT = 8192
"""Faces of which half of every lesson is: where R is now."""
LESSON = 512
BESIDE = (0.0, 0.0, 0.15, 0.3, 0.6)
"""How far from R's answer faces are drawn, one as often as the other, in standard deviations of its answers."""
LEAST = 0.3
"""Standard deviation of a code's answers, at least: R cannot learn to go where nobody knows what is there."""
LEARNING_RATE = 5e-4


class StandIn(nn.Module):
    """Two residual blocks beside a linear map."""

    middle: Tensor
    spread: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        """`inputs`: of :meth:`numbers`; `outputs`: of the critic."""
        super().__init__()
        self.linear, self.first, self.last = nn.Linear(inputs, outputs), nn.Linear(inputs, WIDTH), nn.Linear(WIDTH, outputs)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH)) for _ in range(2))
        nn.init.zeros_(self.last.weight)
        self.register_buffer("middle", torch.zeros(outputs))
        self.register_buffer("spread", torch.ones(outputs))

    @staticmethod
    def numbers(values: Parameters, style: Tensor) -> Tensor:
        """(B, 244 + 23 + 2 + O): faces and the styles (B, O) in which they are drawn, one-hot."""
        return torch.cat([*(scale * part for scale, part in zip(SCALES, values, strict=True)), style], 1)

    def forward(self, numbers: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs): what the critic would say."""
        hidden = functional.silu(self.first(numbers))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.middle + self.spread * (self.linear(numbers) + self.last(functional.silu(hidden)))


class Rehearsal:
    """Drawn faces, what the critic said of them, and the stand-in that learns from both."""

    def __init__(self, draw: Callable[[Parameters, Tensor], Tensor], seed: int) -> None:
        """`draw`: faces and styles (B, O) -> what the critic says of their pictures (B, D)."""
        self.draw, self.generator = draw, torch.Generator().manual_seed(seed)
        self.faces, self.said, self.count = torch.empty(0), torch.empty(0), 0
        self.stand_in: StandIn | None = None
        self.error = torch.tensor(1.0)

    def __call__(self, values: Parameters, style: Tensor) -> Tensor:
        """What the stand-in says in place of `draw`; gradients reach `values`."""
        assert self.stand_in is not None, "begin() comes first"
        return self.stand_in(StandIn.numbers(values, style))

    def begin(self, answers: Iterator[tuple[Parameters, Tensor]], faces: int, lessons: int) -> None:
        """Draw so many `faces` and learn from them in so many `lessons`. `answers`: faces of R with their styles, some at a
        time."""
        with trange(faces, desc="faces for the stand-in", unit="face") as bar:
            while self.count < faces:
                bar.update(self.remember(*next(answers)))
        said = self.said[: self.count]
        self.stand_in = StandIn(self.faces.shape[1], said.shape[1]).to(said.device)
        self.stand_in.middle.copy_(said.mean(0))
        self.stand_in.spread.copy_(said.std(0).clamp_min(1e-6))
        self.optimiser = torch.optim.AdamW(self.stand_in.parameters(), LEARNING_RATE, weight_decay=0.1)
        with trange(lessons, desc="lessons of the stand-in") as bar:
            for _ in bar:
                self.learn()
                bar.set_postfix_str(f"error {float(self.error):.3f}", refresh=False)

    @torch.no_grad()
    def remember(self, values: Parameters, style: Tensor) -> int:
        """Draw some faces, keep what the critic says; returns how many."""
        numbers, said = StandIn.numbers(values, style), self.draw(values, style).float()
        if not self.count:
            self.faces, self.said = (part.new_empty((MEMORY, part.shape[1])) for part in (numbers, said))
        rows = (self.count + torch.arange(len(said), device=said.device)) % MEMORY
        self.faces[rows], self.said[rows] = numbers, said
        self.count += len(said)
        return len(said)

    def learn(self) -> None:
        """One lesson. Afterwards ``error`` is the stand-in's mean squared error in it, as a share of the variance of what the
        critic said at first."""
        assert self.stand_in is not None
        known, recent = min(self.count, MEMORY), min(self.count, RECENT)
        any_of_them = torch.randint(known, (LESSON // 2,), generator=self.generator)
        newest = self.count - 1 - torch.randint(recent, (LESSON // 2,), generator=self.generator)
        rows = torch.cat([any_of_them, newest % MEMORY]).to(self.said.device)
        self.stand_in.requires_grad_(True)
        error = ((self.stand_in(self.faces[rows]) - self.said[rows]) / self.stand_in.spread).square().mean()
        self.optimiser.zero_grad(set_to_none=True)
        error.backward()
        self.optimiser.step()
        self.stand_in.requires_grad_(False)  # R learns through it, not from it
        self.error = error.detach()


def beside(code: Tensor, generator: torch.Generator) -> Tensor:
    """Identity codes (B, K) moved as BESIDE says, each in its own way."""
    far = torch.tensor(BESIDE)[torch.randint(len(BESIDE), (len(code), 1), generator=generator)]
    moved = far * torch.randn(code.shape, generator=generator)
    return code + moved.to(code.device) * code.std(0).clamp_min(LEAST)
