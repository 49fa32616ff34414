"""Tensors in structures, in one to three dimensions, in two precisions."""
