"""Model families, one module each; `bigearth_tf.models.registry` finds them here."""
