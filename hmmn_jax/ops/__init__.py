"""Functions of arrays without parameters: convolution, resizing, pooling, the precision policy."""
