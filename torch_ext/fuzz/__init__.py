"""Random architectures, hand against autograd: what differs is localised, judged, shrunk, diagnosed, kept."""

from torch_ext.fuzz.compare import compare as compare
from torch_ext.fuzz.compare import compare_seed as compare_seed
from torch_ext.fuzz.outcome import Failure as Failure
from torch_ext.fuzz.outcome import Outcome as Outcome
from torch_ext.fuzz.shrink import shrink as shrink
