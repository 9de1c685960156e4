"""Which weights are kept small? Kernels: those that multiply features; no bias, scale of a norm or embedding.

Decay of the optimiser and the penalty of the loss both ask here. A bias or a scale has few numbers and no redundancy
to take away; decayed, it only underfits (https://www.deeplearningbook.org, section 7.1).
"""

from __future__ import annotations

import re
from typing import Any

# Every layer of Keras that has a kernel calls it so: kernel, depthwise_kernel, pointwise_kernel. The rank would not
# tell: the biases of MultiHeadAttention and of EinsumDense, which here hold position embeddings, have two dimensions.
NOT_A_KERNEL = r"^(?!.*kernel(:\d+)?$)"


def is_kernel(variable: Any) -> bool:
    """Whether a trainable variable is a kernel."""
    return not re.search(NOT_A_KERNEL, variable.name)
