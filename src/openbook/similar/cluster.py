"""Vectors become groups, as many as the data suggest.

Each vector is moved towards those nearest to it, which brings out what lies together (as in label propagation), and the
moved ones are merged two by two by Ward's rule (Ward, 1963). Where that tree is cut, two measures decide together: the
silhouette (Rousseeuw, 1987), which asks whether a vector is nearer to its own group than to the next, and the
modularity of the graph of neighbours (Newman and Girvan, 2004; resolution as in Reichardt and Bornholdt, 2006). At last
each vector goes to the group whose centre is nearest. The same vectors always make the same groups.
``benchmarks/themes.py`` chose the settings, on dev halves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from numpy.typing import NDArray

    from openbook.embed import FloatArray

    Floats: TypeAlias = NDArray[np.floating[Any]]
    Labels: TypeAlias = NDArray[np.intp]

MOST_COMPARED = 2_000
"""So many vectors are compared with each other, evenly taken; all others go to the nearest centre. Memory and time of
comparing grow with the square: 2,000 take 150 MB."""

MOST_GROUPS = 40
"""More are not looked at where nobody says how many: who reads a list of a hundred themes?"""

NEIGHBOURS = 6
LINKS = 10
"""Neighbours that a vector is moved towards, and that it has in the graph; fewer where there are few vectors."""

STEPS = 4
HALF = 0.5
"""How often each vector is moved, and by how much of the way."""

RESOLUTION = 1.5
"""Above 1 the modularity prefers more and smaller groups."""

MANY = 12
MOST_AREAS = 9
AREA_RESOLUTION = 1.0
"""More groups than ``MANY`` are not seen at a glance: areas of them, few and large, are."""

FEW = 6
APART = 0.5
"""Fewer vectors have no shape: those belong together whose cosine distance is, on average, below this."""

ROUNDS = 10


def groups(vectors: FloatArray, number: int | None = None) -> list[list[int]]:
    """The rows of ``vectors`` (float32[n, d], unit length) in groups, the largest first, the most central row first.

    ``number``: so many groups, or as many as there are different vectors where those are fewer. Without it the data
    decide: one group where all are the same, else 2 to ``MOST_GROUPS``.
    """
    from threadpoolctl import threadpool_limits

    count = len(vectors)
    if count == 0:
        return []
    # Products of this size are over before a second core has begun; and one core always adds up in the same order.
    with threadpool_limits(1):
        compared = np.arange(count)
        if count > MOST_COMPARED:
            compared = np.linspace(0, count - 1, MOST_COMPARED).round().astype(int)
        own = np.asarray(vectors, dtype=np.float64)
        middle = own[compared].mean(axis=0)
        centred = _unit(own - middle)
        labels = _labels(own[compared], centred[compared], number)
        if count > len(compared):
            labels = _nearest(centred, _centres(centred[compared], labels))
        centres = _centres(centred, labels)
        near = (centred * centres[labels]).sum(axis=1)
        found = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
        ordered = [rows[np.argsort(-near[rows], kind="stable")].tolist() for rows in found if len(rows)]
    return sorted(ordered, key=lambda rows: (-len(rows), rows[0]))


def areas(vectors: FloatArray, grouped: Sequence[Sequence[int]]) -> list[list[int]]:
    """Groups of ``groups``, by their places in ``grouped``, where there are more than ``MANY``; else none.

    As many as the data suggest, from 3 to ``MOST_AREAS``, the largest first.
    """
    from scipy.cluster.hierarchy import linkage
    from threadpoolctl import threadpool_limits

    if len(grouped) <= MANY:
        return []
    with threadpool_limits(1):
        rows = [row for group in grouped for row in group[: max(1, MOST_COMPARED // len(grouped))]]
        own = np.asarray(vectors[rows], dtype=np.float64)
        centred = _unit(own - own.mean(axis=0))
        place = {row: at for at, group in enumerate(grouped) for row in group}
        labels = np.array([place[row] for row in rows])
        moved = _moved(centred, max(1, min(NEIGHBOURS, len(rows) // 10)))
        tree = linkage(_centres(moved, labels), "ward")
        links = _graph(own, min(LINKS, max(2, len(rows) // 6)))
        of_groups = _cuts(tree, range(3, min(MOST_AREAS, len(grouped) // 2) + 1))
        best = _best(moved, links, {k: cut[labels] for k, cut in of_groups.items()}, AREA_RESOLUTION)
        cut = of_groups[best]
    found = [np.flatnonzero(cut == label).tolist() for label in range(cut.max() + 1)]
    return sorted(found, key=lambda area: (-sum(len(grouped[at]) for at in area), area[0]))


def _labels(own: Floats, centred: Floats, number: int | None) -> Labels:
    from scipy.cluster.hierarchy import fcluster, linkage

    count = len(own)
    distinct = len(np.unique(own.round(4), axis=0))
    if distinct == 1 or number == 1:
        return np.zeros(count, dtype=int)
    if number is not None and number >= distinct:
        return np.unique(own.round(4), axis=0, return_inverse=True)[1].reshape(-1)
    if number is None and count < FEW:
        tree = linkage(own, "average", metric="cosine")
        return _numbered(fcluster(np.maximum(tree, 0), APART, "distance"))
    moved = _moved(centred, max(1, min(NEIGHBOURS, count // 10)))
    tree = linkage(moved, "ward")
    if number is not None:
        return _settled(moved, _numbered(fcluster(tree, number, "maxclust")), keep=True)
    most = min(MOST_GROUPS, distinct, max(2, count // 3))
    cuts = _cuts(tree, range(2, most + 1))
    links = _graph(own, min(LINKS, max(2, count // 6)))
    return _settled(moved, cuts[_best(moved, links, cuts, RESOLUTION)])


def _cuts(tree: Floats, numbers: Iterable[int]) -> dict[int, Labels]:
    """Where the tree is cut into so many groups."""
    from scipy.cluster.hierarchy import fcluster

    return {number: _numbered(fcluster(tree, number, "maxclust")) for number in numbers}


def _best(vectors: Floats, links: Floats, cuts: Mapping[int, Labels], resolution: float) -> int:
    """The number of groups that both measures together find best; of equal ones the smallest."""
    told = [
        _scaled({k: _silhouette(vectors, cut) for k, cut in cuts.items()}),
        _scaled({k: _modularity(links, cut, resolution) for k, cut in cuts.items()}),
    ]
    return max(cuts, key=lambda k: (told[0][k] + told[1][k], -k))


def _moved(vectors: Floats, neighbours: int) -> Floats:
    links = _graph(vectors, neighbours)
    links /= np.maximum(links.sum(axis=1, keepdims=True), 1e-9)
    for _ in range(STEPS):
        vectors = _unit((1 - HALF) * vectors + HALF * (links @ vectors))
    return vectors


def _graph(vectors: Floats, neighbours: int) -> Floats:
    """[n, n]: the cosine of two of which one is among the nearest of the other, else 0."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1.0)
    nearest = np.argpartition(-cosines, neighbours - 1, axis=1)[:, :neighbours]
    rows = np.arange(len(vectors))[:, None]
    links = np.zeros_like(cosines)
    links[rows, nearest] = np.maximum(cosines[rows, nearest], 0.0)
    return np.maximum(links, links.T)


def _silhouette(vectors: Floats, labels: Labels) -> float:
    """Of unit vectors by cosine distance: the mean distance to a group is one product with the mean of the group."""
    member = np.eye(labels.max() + 1)[labels]
    sizes = member.sum(axis=0)
    far = 1.0 - vectors @ (member.T @ vectors / sizes[:, None]).T
    rows = np.arange(len(vectors))
    size = sizes[labels]
    within = far[rows, labels] * size / np.maximum(size - 1, 1)  # without the vector itself
    far[rows, labels] = np.inf
    other = far.min(axis=1)
    of_each = (other - within) / np.maximum(np.maximum(within, other), 1e-12)
    return float(np.where(size > 1, of_each, 0.0).mean())


def _modularity(links: Floats, labels: Labels, resolution: float) -> float:
    total = links.sum()
    if not total:
        return 0.0
    member = np.eye(labels.max() + 1)[labels]
    inside = float((links @ member * member).sum() / total)
    degrees = (links.sum(axis=1) @ member) / total
    return inside - resolution * float((degrees**2).sum())


def _settled(vectors: Floats, labels: Labels, *, keep: bool = False) -> Labels:
    """Each to the nearest centre, again and again; ``keep``: no group may be emptied by it."""
    for _ in range(ROUNDS):
        moved = _nearest(vectors, _centres(vectors, labels))
        if keep and len(np.unique(moved)) < labels.max() + 1:
            break
        moved = _numbered(moved)
        if np.array_equal(moved, labels):
            break
        labels = moved
    return labels


def _nearest(vectors: Floats, centres: Floats) -> Labels:
    return np.asarray((vectors @ centres.T).argmax(axis=1))


def _centres(vectors: Floats, labels: Labels) -> Floats:
    return _unit(np.eye(labels.max() + 1)[labels].T @ vectors)


def _numbered(labels: Labels) -> Labels:
    return np.unique(labels, return_inverse=True)[1].reshape(-1)


def _scaled(values: dict[int, float]) -> dict[int, float]:
    low, high = min(values.values()), max(values.values())
    return {key: (value - low) / (high - low) if high > low else 0.0 for key, value in values.items()}


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))
