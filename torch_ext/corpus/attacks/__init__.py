"""Attacks on the checker, each written blind: functions and mistakes by someone who knew neither the
checker nor the other parts of the corpus.

What each showed first is in ``reports/selftest.md``; since then they are read, and hold what was mended.
"""

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.attacks import eight, five, four, nine, one, seven, six, three, two

_SETS = (one, two, three, four, five, six, seven, eight, nine)
OPERATIONS: tuple[Operation, ...] = tuple(op for attack in _SETS for op in attack.OPERATIONS)
