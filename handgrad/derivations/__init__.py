"""One file a layer: the only home of its derivation. One import line here makes it known.

How to read one.  L is the loss, one real number, however many layers follow. dy is short for ∂L/∂y and dx for
∂L/∂x, each in the shape of its array; ``backward`` is given dy and finds dx:
    dx_k = Σ_i dy_i ∂y_i/∂x_k      the chain rule: a sum over all y_i that x_k goes into
[i = k] is 1 where i = k, else 0.  ⊙ is a product element by element.  In the code x̂ is ``xhat``, dx̂
``dxhat``, and 1/sqrt(σ² + ε) ``rstd``.  A layer that is itself a loss calls its output L, and dy dL.

forward(inputs) returns y and the residuals: whatever backward needs of the way there.
backward(dy, residuals) returns one gradient for each input, None for one that has none. ``needs``,
where it asks for it, says which gradients are wanted.

Broadcasting.  An input that was broadcast was copied, and its gradient is the sum over the copies.
``backward`` leaves that sum to its caller, which knows the shape of every input (``_arrays.unbroadcast``).

Complex numbers.  dz is ∂L/∂Re z + i ∂L/∂Im z, as in PyTorch. Then y = w x gives dx = conj(w) dy, and in
the same way every formula of a complex layer conjugates its factors.
"""

from handgrad.derivations import adaptive_avg_pool as adaptive_avg_pool
from handgrad.derivations import adaptive_max_pool as adaptive_max_pool
from handgrad.derivations import add as add
from handgrad.derivations import avg_pool as avg_pool
from handgrad.derivations import batch_norm as batch_norm
from handgrad.derivations import binary_cross_entropy as binary_cross_entropy
from handgrad.derivations import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from handgrad.derivations import concat as concat
from handgrad.derivations import conv2d as conv2d
from handgrad.derivations import cross_entropy as cross_entropy
from handgrad.derivations import divide as divide
from handgrad.derivations import dropout as dropout
from handgrad.derivations import embedding as embedding
from handgrad.derivations import exp as exp
from handgrad.derivations import fractional_max_pool as fractional_max_pool
from handgrad.derivations import gelu as gelu
from handgrad.derivations import l1_loss as l1_loss
from handgrad.derivations import layer_norm as layer_norm
from handgrad.derivations import leaky_relu as leaky_relu
from handgrad.derivations import linear as linear
from handgrad.derivations import log as log
from handgrad.derivations import log_softmax as log_softmax
from handgrad.derivations import lp_pool as lp_pool
from handgrad.derivations import matmul as matmul
from handgrad.derivations import max_pool as max_pool
from handgrad.derivations import max_unpool as max_unpool
from handgrad.derivations import mean as mean
from handgrad.derivations import mse_loss as mse_loss
from handgrad.derivations import multiply as multiply
from handgrad.derivations import nll_loss as nll_loss
from handgrad.derivations import pad as pad
from handgrad.derivations import relu as relu
from handgrad.derivations import reshape as reshape
from handgrad.derivations import rms_norm as rms_norm
from handgrad.derivations import scaled_dot_product_attention as scaled_dot_product_attention
from handgrad.derivations import sigmoid as sigmoid
from handgrad.derivations import silu as silu
from handgrad.derivations import smooth_l1_loss as smooth_l1_loss
from handgrad.derivations import softmax as softmax
from handgrad.derivations import softplus as softplus
from handgrad.derivations import square as square
from handgrad.derivations import subtract as subtract
from handgrad.derivations import sum as sum
from handgrad.derivations import tanh as tanh
from handgrad.derivations import transpose as transpose
