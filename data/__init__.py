"""The TensorFlow side: builders of data sets, random access to their frames, clips for training."""
