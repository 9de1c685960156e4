"""Model families, one file each; `bigearth_tf.models.registry` discovers every module of this folder."""
