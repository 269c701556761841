"""A corpus of planted mistakes: what a gradient checker must find, and what it must leave in peace."""

from torch_ext.corpus._entry import Mistake as Mistake
from torch_ext.corpus._entry import Operation as Operation
