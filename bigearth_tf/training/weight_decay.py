"""The weights that weight decay and the L2 penalty apply to: kernels, not biases, scales of norms or embeddings.

A bias or a scale has few numbers and no redundancy to remove; with decay it only underfits
(https://www.deeplearningbook.org, section 7.1).
"""

from __future__ import annotations

import re
from typing import Any

# In all Keras layers the names of kernels end so: kernel, depthwise_kernel, pointwise_kernel. The number of dimensions
# does not decide: the biases of MultiHeadAttention, and of EinsumDense, used here for position embeddings, have two.
NOT_A_KERNEL = r"^(?!.*kernel(:\d+)?$)"


def is_kernel(variable: Any) -> bool:
    """Returns whether a trainable variable is a kernel."""
    return not re.search(NOT_A_KERNEL, variable.name)
