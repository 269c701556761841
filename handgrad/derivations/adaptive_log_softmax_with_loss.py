"""y = log q_k + log q'_j  with the place k of the class in the head and j in its cluster;  L = -mean y

Shapes.  x (N, D), t (N,) integers, the classes; A (``head``: c_0 + number of clusters, D) and b (``bias``,
or absent). The c_0 most frequent classes are in the head itself; cluster i has the classes from c_i to
c_{i+1} (``cutoffs``), a projection P_i (h, D), scores O_i (c_{i+1} - c_i, h), and ``rows``, the n whose class
is in it (or absent: then all rows are computed, and those elsewhere do not count). P, O and rows of each of
``clusters`` follow as ``*tail``. y (N,), L ().

Forward.  q = softmax of x Aᵀ + b. A class of the head has k = t, and no second term. A rarer one costs two
softmaxes: that of its cluster in the head, k = c_0 + i, and that of the class in the cluster, j = t - c_i.
With x_i the rows of cluster i, its scores are x_i P_iᵀ O_iᵀ, and q' is their softmax.

Chain rule.  What arrives at y_n is g_n = dy_n - dL/N. As ``log_softmax`` derives it, a score gets
    dz_n,k = ([k is the place of n] - q_n,k) g_n
in the head and in each cluster. Through the linear maps, for the head and with h_i = x_i P_iᵀ for a cluster,
    dA = dzᵀ x,  db = Σ_n dz_n,  dx = dz A
    dO_i = dz_iᵀ h_i,  dh_i = dz_i O_i,  dP_i = dh_iᵀ x_i,  dx_n += dh_i P_i for its rows n

Result.  dx, dA, db, dP_i, dO_i as above.

Kinks: none.
Errors: none here; a class whose cluster is not among those given counts by its place in the head alone.
Source: Grave et al., Efficient softmax approximation for GPUs (2017); PyTorch documentation,
torch.nn.AdaptiveLogSoftmaxWithLoss.
"""

from handgrad._arrays import cast, namespace
from handgrad._cases import case, labels, normal
from handgrad._derivation import register
from handgrad._primitives import gather, one_hot, scatter_rows, take_rows
from handgrad.derivations import log_softmax


def forward(x, t, head, bias, *tail, cutoffs, clusters=()):
    xp = namespace(x)
    scores = x @ head.mT
    log_q = log_softmax.forward(scores if bias is None else scores + bias)[0]
    y = gather(log_q, _place_in_head(t, cutoffs), 1)
    saved = [log_q]
    for i, project, out, rows in _clusters(clusters, tail):
        h = _take(x, rows) @ project.mT
        log_q = log_softmax.forward(h @ out.mT)[0]
        place, inside = _place(t, rows, cutoffs, i)
        y = y + _give_back(xp.where(inside, gather(log_q, place, 1), 0), rows, x.shape[0])
        saved += [h, log_q]
    return (y, -xp.mean(y)), (x, t, head, bias, *tail, *saved)


def backward(dy, residuals, *, cutoffs, clusters=()):
    x, t, head, bias, *rest = residuals
    n = 3 * len(clusters)
    tail, log_q, saved = rest[:n], rest[n], rest[n + 1 :]
    xp, (dy_rows, dL) = namespace(x), dy  # None for an output that nothing uses
    g = xp.zeros_like(x[:, 0]) if dy_rows is None else dy_rows
    g = g if dL is None else g - dL / x.shape[0]

    dz = _scores(g, log_q, _place_in_head(t, cutoffs))
    dx, d_head, d_bias = dz @ head, dz.mT @ x, None if bias is None else xp.sum(dz, axis=0)
    d_tail = []
    for at, (i, project, out, rows) in enumerate(_clusters(clusters, tail)):
        h, log_q = saved[2 * at : 2 * at + 2]
        place, inside = _place(t, rows, cutoffs, i)
        dz = _scores(xp.where(inside, _take(g, rows), 0), log_q, place)
        dh = dz @ out
        dx = dx + _give_back(dh @ project, rows, x.shape[0])
        d_tail += [dh.mT @ _take(x, rows), dz.mT @ h, None]
    return dx, None, d_head, d_bias, *d_tail


def _scores(g, log_q, place):
    """dz of one softmax, of which y takes log q at ``place``."""
    xp = namespace(g)
    return (one_hot(place, log_q.shape[1], log_q.dtype) - xp.exp(log_q)) * xp.expand_dims(g, axis=-1)


def _clusters(clusters, tail):
    """(i, P, O, rows) of each cluster given."""
    return [(i, *tail[3 * at : 3 * at + 3]) for at, i in enumerate(clusters)]


def _place_in_head(t, cutoffs):
    """t itself, or the place of its cluster."""
    xp = namespace(t)
    place = cast(t, xp.int64)
    for i, low in enumerate(cutoffs[:-1]):
        place = xp.where(t >= low, cutoffs[0] + i, place)
    return place


def _place(t, rows, cutoffs, i):
    """The place in cluster i of each of its rows, and where the class is in it at all."""
    xp = namespace(t)
    t = cast(t, xp.int64) if rows is None else take_rows(cast(t, xp.int64)[:, None], rows)[:, 0]
    low, high = cutoffs[i], cutoffs[i + 1]
    inside = (t >= low) & (t < high)
    return xp.where(inside, t - low, 0), inside


def _take(a, rows):
    """Rows of a matrix or elements of a vector."""
    if rows is None:
        return a
    return take_rows(a, rows) if a.ndim == 2 else take_rows(a[:, None], rows)[:, 0]


def _give_back(a, rows, n):
    """The transpose of :func:`_take`."""
    if rows is None:
        return a
    return scatter_rows(a, rows, n) if a.ndim == 2 else scatter_rows(a[:, None], rows, n)[:, 0]


def reference(torch, x, t, head, bias, *tail, cutoffs, clusters=()):
    """PyTorch has the module only: its formula."""
    linear, softmax = torch.nn.functional.linear, torch.nn.functional.log_softmax
    place = _place_in_head(t, cutoffs)
    y = softmax(linear(x, head, bias), 1).gather(1, place[:, None])[:, 0]
    for i, project, out, _ in _clusters(clusters, tail):
        at, inside = _place(t, None, cutoffs, i)
        of_cluster = softmax(linear(linear(x, project), out), 1).gather(1, at[:, None])[:, 0]
        y = y + torch.where(inside, of_cluster, 0)
    return y, -y.mean()


_ROWS = (
    labels([2, 3, 5]),
    labels([1, 4]),
)  # of the classes below: 2 and 3 are in cluster 0, 4 to 6 in cluster 1
_CLASSES = labels([0, 5, 2, 3, 6, 2])
_LOSS = {"cutoffs": (2, 4, 7), "clusters": (0, 1)}


def _case(name, rows, bias=None):
    tail = normal(2, 3), normal(2, 2), rows[0], normal(1, 3), normal(3, 1), rows[1]
    return case(name, normal(6, 3), _CLASSES, normal(4, 3), bias, *tail, **_LOSS)


register(
    forward,
    backward,
    torch="torch.nn.AdaptiveLogSoftmaxWithLoss",
    reference=reference,
    composed=True,
    outputs=("y", "L"),
    differentiable=("x", "head", "bias", "tail"),
    cases=[
        _case("rows of each cluster", _ROWS),
        _case("a bias", _ROWS, normal(4)),
        _case("all rows", (None, None), normal(4)),
        case("the head alone", normal(4, 3), labels([0, 1, 1, 0]), normal(3, 3), None, cutoffs=(2, 4)),
    ],
)
