"""What `experiments.predict` predicts: one module for each kind of input, and the recognition of the kind."""
