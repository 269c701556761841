"""The main job: hand derivations against autograd and numerical truths, as one record."""

from torch_ext.crossval.run import crossval as crossval
