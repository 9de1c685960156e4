"""Train land-cover models on Sentinel-2 data with TensorFlow: the library, without flags or side effects.

Importing this package loads no TensorFlow. Each module is imported by its own name, for example
`from bigearth_tf import bands`.
"""

__version__ = "0.1.0"
