"""Layers of the zoo: one mechanism a module, each a function over Keras tensors, built from plain Keras layers."""
