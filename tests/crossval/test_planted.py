"""Ten mistakes as people make them, each in another layer: cross-validation names that layer and no other."""

import pytest
from click.testing import CliRunner

from handgrad.cli import main
from handgrad.report import Check, compare, load
from tests.mistakes import planted
from torch_ext.crossval import crossval
from torch_ext.crossval.layers import check_layer
from torch_ext.crossval.run import blamed

MISTAKES = {
    "a transposed weight": ("linear", "dx = dy @ conj(w) if", "dx = dy @ conj(w).mT if"),
    "the factors exchanged": ("multiply", "dy * conj(x2), dy * conj(x1)", "dy * conj(x1), dy * conj(x2)"),
    "a sign": ("subtract", "return dy, -(dy if", "return dy, (dy if"),
    "a mean not divided by n": ("mean", "dy / max(n, 1)", "dy"),
    "a factor of the slope left out": ("sigmoid", "dy * conj(y * (1 - y))", "dy * conj(y)"),
    "the off-diagonal term left out": ("softmax", "return y * (dy - inner)", "return y * dy"),
    "a missing sum": ("log_softmax", "xp.sum(dy, axis=", "(lambda v, **_: v)(dy, axis="),
    "dw forgets the normalisation": ("layer_norm", "else dy * xhat", "else dy * xhat / rstd"),
    "a scale forgotten": ("attention_weights", "dq = (ds @ k) * _scale(q, scale)", "dq = (ds @ k)"),
    "the target's sign": ("smooth_l1_loss", "return dx, -dx", "return dx, dx"),
    "the gradient at a wrong place": ("max_pool2d", "put_back(dy, a,", "put_back(dy, a * 0,"),
}
OTHERS = ("relu", "tanh", "add", "cross_entropy")


def record(layer):
    return crossval(architectures=60, jobs=1, layers=[layer, *OTHERS])


@pytest.mark.parametrize("name", MISTAKES)
def test_the_layer_is_named_and_no_other(name):
    layer, right, wrong = MISTAKES[name]
    before = record(layer)
    assert before.passed
    with planted(layer, right, wrong):
        after = record(layer)
    assert not after.passed
    assert after.failed_places == (layer,)
    comparison = compare(before, after)
    assert not comparison.passed
    assert comparison.regressed_layers == (layer,)


@pytest.mark.parametrize("name", MISTAKES)
def test_every_seed_finds_it(name):
    layer, right, wrong = MISTAKES[name]
    with planted(layer, right, wrong):
        for seed in range(3):
            assert not all(check.passed for check in check_layer(layer, seed))


def test_the_command_line_gates(tmp_path):
    def run(folder):
        arguments = ["crossval", "--architectures", "20", "--jobs", "1", "--layer", "tanh", "--layer", "relu"]
        return CliRunner().invoke(main, [*arguments, "--reports", str(tmp_path / folder)])

    assert run("good").exit_code == 0
    with planted("tanh", "dy * conj", "-dy * conj"):
        broken = run("broken")
    assert broken.exit_code == 1
    assert "failed, in tanh" in broken.output
    reports = [str(tmp_path / folder / "report.json") for folder in ("good", "broken")]
    compared = CliRunner().invoke(main, ["compare", *reports])
    assert compared.exit_code == 1
    assert "tanh" in compared.output
    assert "relu" not in compared.output
    assert load(reports[1]).failed_places == ("tanh",)
    assert {path.name for path in (tmp_path / "good").iterdir()} == {
        "report.json", "report.md", "report.html", "report.xml"
    }  # fmt: skip


def test_a_layer_built_on_a_wrong_one_is_not_named():
    """softmin calls softmax: where both are wrong, softmax is the one to look at."""
    checks = [
        Check(id=name, group="layers", passed=False, layer=name) for name in ("softmin", "softmax", "tanh")
    ]
    assert [check.layer for check in blamed(checks)] == ["softmax", "softmax", "tanh"]
    (alone,) = blamed(checks[:1])
    assert alone.layer == "softmin"
