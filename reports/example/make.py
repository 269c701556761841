"""Write the committed example reports again: `make examples`.

``reports/example/right`` is a cross-validation of a few layers; ``reports/example/mistake`` is the same
with a wrong layer norm; ``reports/example/comparison.md`` compares the two; ``reports/example/lecture``
has the worked examples.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from handgrad.report import Record, compare, write_atomically, write_reports
from handgrad.worked import judge, load, shipped
from tests.mistakes import planted
from torch_ext.crossval import crossval

FOLDER = Path(__file__).parent
LAYERS = ["gelu", "layer_norm"]
DERIVATIONS = "../../../handgrad/derivations"


def record():
    return crossval(architectures=4, layers=LAYERS, jobs=1).stable()


def lecture():
    examples = tuple(judge(load(name), svg=True).example for name in shipped())
    return Record(title="Worked examples", seed=0, examples=examples, command="handgrad lecture")


if __name__ == "__main__":
    right = record()
    with planted("layer_norm", "else dy * xhat", "else dy * xhat / rstd"):
        wrong = record()
    write_reports(right, FOLDER / "right", derivation_url=DERIVATIONS)
    write_reports(wrong, FOLDER / "mistake", derivation_url=DERIVATIONS)
    write_reports(lecture(), FOLDER / "lecture")
    print(write_atomically(FOLDER / "comparison.md", compare(right, wrong).to_markdown()))
