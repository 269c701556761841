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

from handgrad.derivations import abs as abs
from handgrad.derivations import adaptive_avg_pool as adaptive_avg_pool
from handgrad.derivations import adaptive_log_softmax_with_loss as adaptive_log_softmax_with_loss
from handgrad.derivations import adaptive_max_pool as adaptive_max_pool
from handgrad.derivations import add as add
from handgrad.derivations import addmm as addmm
from handgrad.derivations import affine_grid as affine_grid
from handgrad.derivations import alpha_dropout as alpha_dropout
from handgrad.derivations import amax as amax
from handgrad.derivations import attention_weights as attention_weights
from handgrad.derivations import avg_pool as avg_pool
from handgrad.derivations import batch_norm as batch_norm
from handgrad.derivations import bilinear as bilinear
from handgrad.derivations import binary_cross_entropy as binary_cross_entropy
from handgrad.derivations import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from handgrad.derivations import celu as celu
from handgrad.derivations import channel_shuffle as channel_shuffle
from handgrad.derivations import clamp as clamp
from handgrad.derivations import concat as concat
from handgrad.derivations import conv1d as conv1d
from handgrad.derivations import conv2d as conv2d
from handgrad.derivations import conv3d as conv3d
from handgrad.derivations import conv_tbc as conv_tbc
from handgrad.derivations import conv_transpose1d as conv_transpose1d
from handgrad.derivations import conv_transpose2d as conv_transpose2d
from handgrad.derivations import conv_transpose3d as conv_transpose3d
from handgrad.derivations import cos as cos
from handgrad.derivations import cosine_embedding_loss as cosine_embedding_loss
from handgrad.derivations import cosine_similarity as cosine_similarity
from handgrad.derivations import cross_entropy as cross_entropy
from handgrad.derivations import cross_map_lrn2d as cross_map_lrn2d
from handgrad.derivations import ctc_loss as ctc_loss
from handgrad.derivations import cumprod as cumprod
from handgrad.derivations import cumsum as cumsum
from handgrad.derivations import divide as divide
from handgrad.derivations import dropout as dropout
from handgrad.derivations import einsum as einsum
from handgrad.derivations import elu as elu
from handgrad.derivations import embedding as embedding
from handgrad.derivations import embedding_bag as embedding_bag
from handgrad.derivations import erf as erf
from handgrad.derivations import exp as exp
from handgrad.derivations import expand as expand
from handgrad.derivations import expm1 as expm1
from handgrad.derivations import flip as flip
from handgrad.derivations import fold as fold
from handgrad.derivations import fractional_max_pool as fractional_max_pool
from handgrad.derivations import gather as gather
from handgrad.derivations import gaussian_nll_loss as gaussian_nll_loss
from handgrad.derivations import gelu as gelu
from handgrad.derivations import glu as glu
from handgrad.derivations import grid_sample as grid_sample
from handgrad.derivations import group_norm as group_norm
from handgrad.derivations import grouped_mm as grouped_mm
from handgrad.derivations import gru as gru
from handgrad.derivations import gru_cell as gru_cell
from handgrad.derivations import gumbel_softmax as gumbel_softmax
from handgrad.derivations import hardshrink as hardshrink
from handgrad.derivations import hardsigmoid as hardsigmoid
from handgrad.derivations import hardswish as hardswish
from handgrad.derivations import hardtanh as hardtanh
from handgrad.derivations import hinge_embedding_loss as hinge_embedding_loss
from handgrad.derivations import huber_loss as huber_loss
from handgrad.derivations import index as index
from handgrad.derivations import index_add as index_add
from handgrad.derivations import index_select as index_select
from handgrad.derivations import instance_norm as instance_norm
from handgrad.derivations import interpolate as interpolate
from handgrad.derivations import kl_div as kl_div
from handgrad.derivations import l1_loss as l1_loss
from handgrad.derivations import layer_norm as layer_norm
from handgrad.derivations import leaky_relu as leaky_relu
from handgrad.derivations import linalg_vector_norm as linalg_vector_norm
from handgrad.derivations import linear as linear
from handgrad.derivations import linear_cross_entropy as linear_cross_entropy
from handgrad.derivations import local_response_norm as local_response_norm
from handgrad.derivations import log as log
from handgrad.derivations import log1p as log1p
from handgrad.derivations import log_softmax as log_softmax
from handgrad.derivations import logcumsumexp as logcumsumexp
from handgrad.derivations import logsigmoid as logsigmoid
from handgrad.derivations import logsumexp as logsumexp
from handgrad.derivations import lp_pool as lp_pool
from handgrad.derivations import lstm as lstm
from handgrad.derivations import lstm_cell as lstm_cell
from handgrad.derivations import margin_ranking_loss as margin_ranking_loss
from handgrad.derivations import masked_fill as masked_fill
from handgrad.derivations import matmul as matmul
from handgrad.derivations import max as max
from handgrad.derivations import max_pool as max_pool
from handgrad.derivations import max_unpool as max_unpool
from handgrad.derivations import maximum as maximum
from handgrad.derivations import mean as mean
from handgrad.derivations import mish as mish
from handgrad.derivations import mse_loss as mse_loss
from handgrad.derivations import multi_margin_loss as multi_margin_loss
from handgrad.derivations import multilabel_margin_loss as multilabel_margin_loss
from handgrad.derivations import multilabel_soft_margin_loss as multilabel_soft_margin_loss
from handgrad.derivations import multiply as multiply
from handgrad.derivations import narrow as narrow
from handgrad.derivations import negative as negative
from handgrad.derivations import nll_loss as nll_loss
from handgrad.derivations import normalize as normalize
from handgrad.derivations import pad as pad
from handgrad.derivations import pairwise_distance as pairwise_distance
from handgrad.derivations import pdist as pdist
from handgrad.derivations import permute as permute
from handgrad.derivations import pixel_shuffle as pixel_shuffle
from handgrad.derivations import pixel_unshuffle as pixel_unshuffle
from handgrad.derivations import poisson_nll_loss as poisson_nll_loss
from handgrad.derivations import pow as pow
from handgrad.derivations import prelu as prelu
from handgrad.derivations import prod as prod
from handgrad.derivations import reciprocal as reciprocal
from handgrad.derivations import relu as relu
from handgrad.derivations import relu6 as relu6
from handgrad.derivations import reshape as reshape
from handgrad.derivations import rms_norm as rms_norm
from handgrad.derivations import rnn as rnn
from handgrad.derivations import rnn_cell as rnn_cell
from handgrad.derivations import roll as roll
from handgrad.derivations import rrelu as rrelu
from handgrad.derivations import rsqrt as rsqrt
from handgrad.derivations import scaled_dot_product_attention as scaled_dot_product_attention
from handgrad.derivations import scatter_add as scatter_add
from handgrad.derivations import selu as selu
from handgrad.derivations import sigmoid as sigmoid
from handgrad.derivations import sign as sign
from handgrad.derivations import silu as silu
from handgrad.derivations import sin as sin
from handgrad.derivations import smooth_l1_loss as smooth_l1_loss
from handgrad.derivations import soft_margin_loss as soft_margin_loss
from handgrad.derivations import softmax as softmax
from handgrad.derivations import softmin as softmin
from handgrad.derivations import softplus as softplus
from handgrad.derivations import softshrink as softshrink
from handgrad.derivations import softsign as softsign
from handgrad.derivations import sort as sort
from handgrad.derivations import sqrt as sqrt
from handgrad.derivations import square as square
from handgrad.derivations import stack as stack
from handgrad.derivations import subtract as subtract
from handgrad.derivations import sum as sum
from handgrad.derivations import tanh as tanh
from handgrad.derivations import tanhshrink as tanhshrink
from handgrad.derivations import threshold as threshold
from handgrad.derivations import tile as tile
from handgrad.derivations import transpose as transpose
from handgrad.derivations import tril as tril
from handgrad.derivations import triplet_margin_loss as triplet_margin_loss
from handgrad.derivations import triplet_margin_with_distance_loss as triplet_margin_with_distance_loss
from handgrad.derivations import unfold as unfold
from handgrad.derivations import var as var
from handgrad.derivations import where as where
