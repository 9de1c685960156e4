"""Training, evaluation and export of land-cover models on Sentinel-2 data with TensorFlow: the library, without flags.

Importing this package loads no TensorFlow. Import each module from its room, for example
`from bigearth_tf.data import bands`; docs/architecture.md lists the rooms.
"""

__version__ = "0.1.0"
