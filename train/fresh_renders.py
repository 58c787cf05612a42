"""Renders drawn anew for every step, beside those of shards: no character is seen twice.

``--fresh-renders N`` of a training has N of every batch drawn and aligned by the ``--workers`` processes while the network learns
from the batch before: a GPU wants some ten of them beside it. Pictures and labels are those of :mod:`game.render_dataset` and
:mod:`train.align_photos`, and what step *n* sees still depends on (seed, n) alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Generic, Protocol

from game.backgrounds import load_strips
from game.render_dataset import Settings, draw, encode
from game.renderer import Renderer
from train.align_photos import ShardAligner
from train.data import S
from train.shard_files import Files

OTHER_SEEDS = 1 << 40
"""Added to the training's seed: other characters than those of data sets."""
AGAIN = 1 << 40
"""Between the numbers of a character whose face is not found and of the one that is drawn instead."""


class Wanted(Protocol):
    """Options of trainings that say how many there are to be."""

    seed: int
    batch_renders: int
    fresh_renders: int
    backgrounds: tuple[str, ...]


def wanted(kind: type[S], options: Wanted) -> FreshRenders[S] | None:
    """What the options of a training ask for; ValueError where that is more than a batch has."""
    if not 0 <= options.fresh_renders <= options.batch_renders:
        raise ValueError(f"--fresh-renders {options.fresh_renders} are among the --batch-renders {options.batch_renders}")
    return FreshRenders(kind, options.fresh_renders, options.seed, options.backgrounds) if options.fresh_renders else None


class FreshRenders(Generic[S]):
    """Aligned renders that lie in no file, `take` for every turn."""

    def __init__(self, kind: type[S], take: int, seed: int, backgrounds: Sequence[str]) -> None:
        """As samples of which `kind` of shards; `backgrounds`: tars or folders of photos, whose borders the heads stand before
        (none: plain ones). FileNotFoundError, ValueError: as :func:`game.backgrounds.load_strips`."""
        self.kind, self.take = kind, take
        self.settings = Settings(take, OTHER_SEEDS + seed, backgrounds=tuple(backgrounds))
        self.strips = load_strips(backgrounds)

    # Made where they are used: neither outlives a fork.
    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.settings.size)

    @cached_property
    def _aligner(self) -> ShardAligner:
        return ShardAligner()

    def __call__(self, turn: int) -> S:
        """The renders of a turn."""
        return self.kind.in_memory((str(k), self._sample(k)) for k in range(turn * self.take, (turn + 1) * self.take))

    def _sample(self, number: int) -> Files:
        while True:
            drawn = draw(self.settings, number, self._renderer, self.strips)
            aligned = self._aligner.align(encode(*drawn, self.settings.seed))
            if aligned is not None:
                return aligned
            number += AGAIN
