"""Arrays in, arrays out, no parameters: convolution, resizing, pooling, the precision policy."""
