"""Four attacks on the checker, each written blind: functions and mistakes by someone who knew neither the
checker nor the other parts of the corpus.

What each showed first is in ``reports/selftest.md``; since then they are read, and hold what was mended.
"""

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.attacks import four, one, three, two

OPERATIONS: tuple[Operation, ...] = (*one.OPERATIONS, *two.OPERATIONS, *three.OPERATIONS, *four.OPERATIONS)
