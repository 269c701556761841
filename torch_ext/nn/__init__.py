"""``torch.nn`` with hand-derived gradients: the same modules, whose forward calls ours.

Each class is a subclass of PyTorch's of the same name. Constructor, parameters, buffers,
``state_dict`` and ``repr`` are inherited; only ``forward`` is new.
"""

from torch_ext.nn._activations import *  # noqa: F403
from torch_ext.nn._attention import *  # noqa: F403
from torch_ext.nn._convolutions import *  # noqa: F403
from torch_ext.nn._distances import *  # noqa: F403
from torch_ext.nn._dropouts import *  # noqa: F403
from torch_ext.nn._interpolation import *  # noqa: F403
from torch_ext.nn._losses import *  # noqa: F403
from torch_ext.nn._norms import *  # noqa: F403
from torch_ext.nn._pooling import *  # noqa: F403
from torch_ext.nn._recurrent import *  # noqa: F403
from torch_ext.nn._shapes import *  # noqa: F403
from torch_ext.nn._tables import *  # noqa: F403
