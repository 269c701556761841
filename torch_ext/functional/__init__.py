"""``torch.nn.functional`` (and a few names of ``torch``) with hand-derived gradients.

Signatures, defaults, dtypes and errors are PyTorch's. A derivation without a function here is
found all the same: ``functional.NAME(*inputs, **options)`` takes its inputs by position.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from handgrad._derivation import registry
from torch_ext.functional._activations import *  # noqa: F403
from torch_ext.functional._arithmetic import *  # noqa: F403
from torch_ext.functional._attention import *  # noqa: F403
from torch_ext.functional._common import apply
from torch_ext.functional._convolutions import *  # noqa: F403
from torch_ext.functional._distances import *  # noqa: F403
from torch_ext.functional._dropouts import *  # noqa: F403
from torch_ext.functional._elementwise import *  # noqa: F403
from torch_ext.functional._indexing import *  # noqa: F403
from torch_ext.functional._interpolation import *  # noqa: F403
from torch_ext.functional._losses import *  # noqa: F403
from torch_ext.functional._margin_losses import *  # noqa: F403
from torch_ext.functional._norms import *  # noqa: F403
from torch_ext.functional._pooling import *  # noqa: F403
from torch_ext.functional._products import *  # noqa: F403
from torch_ext.functional._recurrent import *  # noqa: F403
from torch_ext.functional._reductions import *  # noqa: F403
from torch_ext.functional._shape_changes import *  # noqa: F403
from torch_ext.functional._shapes import *  # noqa: F403
from torch_ext.functional._softmaxes import *  # noqa: F403
from torch_ext.functional._tables import *  # noqa: F403


def __getattr__(name: str) -> Callable[..., Any]:
    if name not in registry:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}: no derivation has that name")
    return partial(apply, name)
