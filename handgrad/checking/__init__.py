"""Differences, tolerances and numerical truths: pure array code, no library of gradients."""

from handgrad.checking.differences import Difference as Difference
from handgrad.checking.differences import compare as compare
from handgrad.checking.numerical import Directional as Directional
from handgrad.checking.numerical import directional_derivative as directional_derivative
from handgrad.checking.tolerances import Precision as Precision
from handgrad.checking.tolerances import Yardstick as Yardstick
from handgrad.checking.tolerances import allowed as allowed
from handgrad.checking.tolerances import computational_noise as computational_noise
from handgrad.checking.tolerances import nudge as nudge
from handgrad.checking.tolerances import precision as precision
from handgrad.checking.tolerances import yardsticks as yardsticks
