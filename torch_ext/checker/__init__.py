"""Is this gradient right, and if not, what is the mistake?"""

from torch_ext.checker.run import check as check
