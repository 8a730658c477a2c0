"""Convolution, resizing, pooling and other functions without trained parameters, and the precision policy."""
