"""One person or two? The measures of face verification, as Labeled Faces in the Wild takes them (Huang et al., 2007).

Given embeddings of length 1 and who is who: pairs of pictures of one and of two identities, the share of pairs that a
threshold on their cosine tells right (for each tenth of the pairs the threshold is chosen on the other nine), and the area
under the ROC curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
FOLDS = 10


def pairs(identity: Array, count: int, seed: int = 0) -> tuple[Array, Array]:
    """Seeded pairs of samples: (P, 2) numbers of samples, and (P,) bool whether they show one identity.

    Args:
        identity: (N,) anything that is equal for samples of one identity.
        count: so many pairs of each kind; all there are of one identity where those are fewer, and then as few of two."""
    rng = np.random.default_rng(seed)
    number = np.unique(identity, return_inverse=True)[1]
    first, second = np.triu_indices(len(number), 1)
    same = number[first] == number[second]
    count = min(count, int(same.sum()), int((~same).sum()))
    chosen = np.concatenate([rng.choice(np.flatnonzero(kind), count, replace=False) for kind in (same, ~same)])
    return np.stack([first[chosen], second[chosen]], 1), same[chosen]


def verification(embeddings: Array, identity: Array, count: int = 3000) -> dict[str, float]:
    """Measures of embeddings (N, D) of length 1: those of :func:`told_apart` by their cosine."""
    chosen, same = pairs(identity, count)
    return told_apart((embeddings[chosen[:, 0]] * embeddings[chosen[:, 1]]).sum(1), same)


def told_apart(score: Array, same: Array) -> dict[str, float]:
    """Measures of pairs' scores (P,), higher for alike, and whether they show one identity (P,): "accuracy", its standard
    error over the folds, "auc", and the mean score of the pairs of one ("same") and of two identities ("other"). All are NaN
    where there are less pairs of one than folds."""
    if same.sum() < FOLDS:
        return dict.fromkeys(("accuracy", "standard error", "auc", "same", "other"), np.nan)
    fold = np.random.default_rng(0).permutation(len(same)) % FOLDS
    right = [_right(score, same, fold == k) for k in range(FOLDS)]
    return {
        "accuracy": float(np.mean(right)),
        "standard error": float(np.std(right, ddof=1) / np.sqrt(FOLDS)),
        "auc": float(np.searchsorted(np.sort(score[~same]), score[same]).mean() / (~same).sum()),
        "same": float(score[same].mean()),
        "other": float(score[~same].mean()),
    }


def _right(score: Array, same: Array, tested: Array) -> float:
    """Share of tested pairs that the best threshold of the others tells right."""
    order = np.argsort(score[~tested])
    others, is_same = score[~tested][order], same[~tested][order]
    right = np.cumsum(~is_same) + is_same.sum() - np.cumsum(is_same)  # with the threshold at each pair
    return float(((score[tested] > others[right.argmax()]) == same[tested]).mean())
