"""Every sample of PyTorch's own databases of functions and modules, hand against native.

``catalogue``  what ``torch.nn`` has, read from it at run time, and what of that is left out, with reasons
``samples``    the calls: PyTorch's databases (``torch.testing._internal``), and ``own`` for what they lack
``compare``    one sample: outputs, gradients, second derivatives, random numbers, buffers, errors, purity
``run``        all of them, in parallel, as one report
"""
