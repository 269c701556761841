"""Networks: what they compute, in both layouts, and what they refuse."""

import subprocess
import sys

import numpy as np
import pytest

from handgrad import InputError
from handgrad.datasets import xor
from handgrad.networks import LOSSES, lecture_network, linear_regression, logistic_regression, mlp
from handgrad.training import batches, optimize, train, trajectory

NAN = float("nan")


def data(loss, n=5, outputs=3):
    rng = np.random.default_rng(7)
    x = rng.standard_normal((n, 4))
    if loss == "cross_entropy":
        return x, rng.integers(outputs, size=n)
    y = rng.standard_normal((n, outputs))
    return x, y if loss == "mse_loss" else (y > 0).astype(float)


# --- what they compute ---------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_the_lecture_s_section_8(layout):
    network, x, y = lecture_network(layout)
    passed = network.forward(x, y)
    assert passed.values["z1"].ravel().tolist() == pytest.approx([0.6, 1.3])
    assert passed.values["z2"].item() == pytest.approx(1.38)
    network.step(x, y, lr=0.1)
    assert network.parameters["b2"].item() == pytest.approx(0.3201, abs=5e-5)
    assert set(network.graph.inputs) == {"x", "y", "W1", "b1", "W2", "b2"}
    assert network.graph.outputs == ("L",)
    assert network.predictor.outputs == ("y_hat",)


def test_the_lecture_s_section_7():
    network = logistic_regression(1)
    network.parameters = {"W1": np.zeros((1, 1)), "b1": np.zeros(1)}
    x, y = np.array([[50.0]]), np.array([1.0])
    assert network.loss(x, y) == pytest.approx(np.log(2))
    gradients = network.gradients(x, y)
    assert gradients["W1"].tolist() == [[-25.0]]
    assert gradients["b1"].tolist() == [-0.5]


@pytest.mark.parametrize("loss", LOSSES)
def test_layouts_agree(loss):
    """Rows and columns are the same network: same start, same loss, same gradients, same answers."""
    x, y = data(loss)
    rows = mlp([4, 6, 5, 3], "tanh", loss, seed=2)
    columns = mlp([4, 6, 5, 3], "tanh", loss, seed=2, layout="columns")
    xc, yc = x.T, y if y.ndim == 1 else y.T
    assert columns.loss(xc, yc) == pytest.approx(rows.loss(x, y), rel=1e-14)
    np.testing.assert_allclose(columns.predict(xc).T, rows.predict(x), rtol=1e-13)
    found, truth = columns.gradients(xc, yc), rows.gradients(x, y)
    for name, w in rows.parameters.items():
        assert truth[name].shape == w.shape
        assert found[name].shape == columns.parameters[name].shape
        np.testing.assert_allclose(found[name].reshape(w.shape), truth[name], rtol=1e-12, atol=1e-15)
    if loss != "mse_loss":
        assert columns.accuracy(xc, yc) == rows.accuracy(x, y)


def test_predictions_are_probabilities():
    x, _ = data("cross_entropy")
    p = mlp([4, 3], loss="cross_entropy").predict(x)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-15)
    logits = mlp([4, 3], loss="binary_cross_entropy_with_logits", seed=5).predict(x)
    np.testing.assert_array_equal(logits, mlp([4, 3], seed=5).predict(x))


def test_one_hot_labels_are_probabilities():
    x, y = data("cross_entropy")
    for layout in ("rows", "columns"):
        network = mlp([4, 6, 3], "relu", "cross_entropy", layout=layout)
        one_hot = np.eye(3)[y] if layout == "rows" else np.eye(3)[y].T
        given = x if layout == "rows" else x.T
        assert network.loss(given, one_hot) == pytest.approx(network.loss(given, y), rel=1e-15)
        assert network.accuracy(given, one_hot) == network.accuracy(given, y)


def test_labels_of_one_output_need_no_axis_of_their_own():
    x, y = xor()
    network = mlp([2, 3, 1])
    assert network.loss(x, y[:, 0]) == network.loss(x, y)
    lecture, x, y = lecture_network()
    assert lecture.loss(x, 1.0) == lecture.loss(x, y)


def test_steps_make_new_parameters():
    network = mlp([2, 3, 1], seed=1)
    before, x = dict(network.parameters), xor()[0]
    copies = {name: w.copy() for name, w in before.items()}
    seen = list(trajectory(network, *xor(), 0.5, 3))
    assert all((before[name] == w).all() for name, w in copies.items())
    assert (seen[0].parameters["W1"] != seen[1].parameters["W1"]).any()
    assert seen[-1].parameters == network.parameters
    np.testing.assert_array_equal(x, xor()[0])


def test_seeds_fix_everything():
    def run(seed, shuffle):
        network = mlp([2, 4, 1], seed=seed)
        return train(network, *xor(), 0.5, 20, batch_size=2, seed=shuffle).losses

    assert run(0, 0) == run(0, 0)
    assert len({run(0, 0), run(1, 0), run(0, 1)}) == 3


def test_batches_take_every_example_once_before_a_new_shuffle():
    drawn = batches(10, 4, seed=0)
    first, second = ([next(drawn) for _ in range(3)] for _ in range(2))
    for epoch in (first, second):
        assert [len(which) for which in epoch] == [4, 4, 2]
        assert sorted(np.concatenate(epoch)) == list(range(10))
    assert np.concatenate(first).tolist() != np.concatenate(second).tolist()


def test_a_progress_bar_on_a_terminal_alone(monkeypatch, capsys):
    network = mlp([2, 4, 1])
    assert len(train(network, *xor(), 0.5, 3, progress=True)) == 3
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert len(train(network, *xor(), 0.5, 3, progress=True)) == 3
    assert "training" in capsys.readouterr().err


def test_no_steps():
    network = mlp([2, 4, 1])
    before = network.parameters
    assert train(network, *xor(), 0.5, 0).losses == ()
    assert network.parameters is before


def test_float32_stays_float32():
    network = mlp([2, 4, 1])
    network.parameters = {name: w.astype(np.float32) for name, w in network.parameters.items()}
    train(network, *xor(), np.float64(0.5), 2)
    assert {w.dtype for w in network.parameters.values()} == {np.dtype(np.float32)}


def test_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from handgrad.datasets import xor\nfrom handgrad.training import optimize\n"
        "x, y = xor()\noptimize(x, y, 0.5, 3)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- what they refuse ----------------------------------------------------------------------

X, Y = xor()


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (np.zeros((0, 2)), np.zeros((0, 1)), r"at least one example; received \(0, 2\); give one"),
        (X.T, Y, r"x must have shape \(N, 2\), one example in each of the rows; received \(2, 4\)"),
        (X[0], Y[0], r"x must have shape \(N, 2\).*received \(2,\)"),
        (X, Y[:3], r"y must have shape \(4, 1\) for 4 examples in rows, or \(4,\); received \(3, 1\)"),
        (X, Y.T, r"y must have shape \(4, 1\).*received \(1, 4\)"),
        (X, 1.0, r"y must have shape \(4, 1\).*received \(\)"),
        (np.where(X == 1, NAN, X), Y, r"x must be finite; received nan at index \(1, 1\) and 3 more; remove"),
        (X, np.where(Y == 1, np.inf, Y), r"y must be finite; received inf at index \(1, 0\) and 1 more"),
        (X.astype(int), Y, r"x must be an array of floats; received dtype int64; convert it, by x.astype"),
        (X, Y.astype(int), r"y must be an array of floats; received dtype int64"),
        (X, Y == 1, r"y must be an array of floats; received dtype bool"),
        (X + 1j, Y, r"x must be an array of floats; received dtype complex128"),
        (X, 2 * Y, "labels of binary_cross_entropy must be from 0 to 1; received numbers from 0 to 2"),
        ([[0.0, 1.0], [1.0]], Y, "x must be an array of numbers; received rows of different lengths"),
        ([["a", "b"]], Y, "x must be an array of numbers; received dtype <U1"),
        (None, Y, "x must be an array of numbers; received dtype object"),
    ],
)
def test_bad_data_is_refused(x, y, says):
    network = mlp([2, 3, 1])
    for use in (network.loss, network.gradients, network.accuracy, lambda x, y: train(network, x, y, 0.1, 1)):
        with pytest.raises(InputError, match=says) as caught:
            use(x, y)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("y", "says"),
    [
        ([0, 1, 2, 3], "a class index must be from 0 to 2.*received indices from 0 to 3"),
        ([0, 1, 2, -1], "a class index must be from 0 to 2.*received indices from -1 to 2"),
        ([0, 1, 2], r"class indices must have shape \(4,\).*received \(3,\)"),
        ([0.0, 1.0, 2.0, 1.0], r"y must have shape \(4, 3\).*received \(4,\)"),
        (np.full((4, 3), 1.5), "labels of cross_entropy must be from 0 to 1; received numbers from 1.5"),
    ],
)
def test_bad_classes_are_refused(y, says):
    with pytest.raises(InputError, match=says):
        mlp([2, 3], loss="cross_entropy").loss(X, y)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"lr": 0}, "lr, the learning rate, must be a positive number; received 0;"),
        ({"lr": -0.1}, "lr.*received -0.1"),
        ({"lr": NAN}, "lr.*received nan"),
        ({"lr": "0.1"}, "lr.*received '0.1'"),
        ({"n_iter": -1}, "n_iter, the number of steps, must be an integer from 0; received -1"),
        ({"n_iter": 2.5}, "n_iter.*received 2.5"),
        ({"n_iter": True}, "n_iter.*received True"),
        ({"batch_size": 0}, "batch_size must be an integer from 1 to 4, all examples; received 0"),
        ({"batch_size": 5}, "batch_size.*received 5"),
    ],
)
def test_bad_settings_are_refused_before_the_first_step(settings, says):
    with pytest.raises(InputError, match=says):
        trajectory(mlp([2, 3, 1]), X, Y, **{"lr": 0.1, "n_iter": 3, **settings})


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: mlp([2]), r"at least two widths.*received \[2\]"),
        (lambda: mlp([2, 0, 1]), r"each a positive integer; received \[2, 0, 1\]"),
        (lambda: mlp([2, 1], "rleu"), "activation must be the name of a derivation.*received 'rleu'"),
        (lambda: mlp([2, 1], "softmax"), "acts element by element; received 'softmax'"),
        (lambda: mlp([2, 1], "linear"), "acts element by element; received 'linear'"),
        (lambda: mlp([2, 1], "sum"), "acts element by element; received 'sum'"),
        (lambda: mlp([2, 1], None), "acts element by element; received None"),
        (lambda: mlp([2, 1], loss="hinge"), "loss must be one of mse_loss, .*; received 'hinge'"),
        (lambda: mlp([2, 1], layout="row"), "layout must be one of rows, columns; received 'row'"),
        (lambda: mlp([2, 1], scale=-1), "scale is a standard deviation.*received -1"),
        (lambda: linear_regression(2).accuracy(X, Y), "only a classifier has classes.*mse_loss"),
        (lambda: optimize(X[:, 0], Y, 0.1, 3), r"x must have shape \(N, 4\).*received \(4,\)"),
    ],
)
def test_bad_networks_are_refused(build, says):
    with pytest.raises(InputError, match=says):
        build()


def test_an_overflow_is_said_and_changes_nothing():
    network = linear_regression(2)
    with pytest.raises(InputError, match="stay finite; received lr = 100, at which they overflow"):
        train(network, 100 * X, Y, lr=100, n_iter=1000)
    assert all(np.isfinite(w).all() for w in network.parameters.values())
