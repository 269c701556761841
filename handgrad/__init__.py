"""Hand-derived backpropagation, cross-validated."""

from handgrad import derivations as derivations
from handgrad._cases import case as case
from handgrad._derivation import Derivation as Derivation
from handgrad._derivation import register as register
from handgrad._derivation import registry as registry
from handgrad._errors import HandgradError as HandgradError
from handgrad._errors import InputError as InputError

__version__ = "0.1.0"
