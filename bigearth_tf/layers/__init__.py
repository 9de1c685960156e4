"""Layers of the zoo: one mechanism a file, each a function of Keras tensors that is built from plain Keras layers."""
