"""The TensorFlow side: builders of data sets, random access to their frames, clips for training."""

import os

# TensorFlow only reads and transforms data here; these settings silence its start-up messages.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
