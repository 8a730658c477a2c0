"""Functions of arrays without trained parameters: convolution, resizing and pooling, and the precision policy."""
