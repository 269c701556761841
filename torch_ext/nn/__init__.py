"""``torch.nn`` with hand-derived gradients: the same modules, whose forward calls ours.

Each class is a subclass of PyTorch's of the same name. Constructor, parameters, buffers,
``state_dict`` and ``repr`` are inherited; only ``forward`` is new.
"""

from torch_ext.nn._activations import GELU as GELU
from torch_ext.nn._activations import LeakyReLU as LeakyReLU
from torch_ext.nn._activations import LogSoftmax as LogSoftmax
from torch_ext.nn._activations import ReLU as ReLU
from torch_ext.nn._activations import Sigmoid as Sigmoid
from torch_ext.nn._activations import SiLU as SiLU
from torch_ext.nn._activations import Softmax as Softmax
from torch_ext.nn._activations import Softplus as Softplus
from torch_ext.nn._activations import Tanh as Tanh
from torch_ext.nn._layers import BatchNorm1d as BatchNorm1d
from torch_ext.nn._layers import BatchNorm2d as BatchNorm2d
from torch_ext.nn._layers import BatchNorm3d as BatchNorm3d
from torch_ext.nn._layers import Conv2d as Conv2d
from torch_ext.nn._layers import Dropout as Dropout
from torch_ext.nn._layers import Embedding as Embedding
from torch_ext.nn._layers import LayerNorm as LayerNorm
from torch_ext.nn._layers import Linear as Linear
from torch_ext.nn._layers import MaxPool2d as MaxPool2d
from torch_ext.nn._layers import RMSNorm as RMSNorm
from torch_ext.nn._losses import BCELoss as BCELoss
from torch_ext.nn._losses import BCEWithLogitsLoss as BCEWithLogitsLoss
from torch_ext.nn._losses import CrossEntropyLoss as CrossEntropyLoss
from torch_ext.nn._losses import L1Loss as L1Loss
from torch_ext.nn._losses import MSELoss as MSELoss
from torch_ext.nn._losses import NLLLoss as NLLLoss
from torch_ext.nn._losses import SmoothL1Loss as SmoothL1Loss
