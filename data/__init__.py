"""Training data with TensorFlow: builders for data sets, random access to their frames, and training clips."""

import os

# TensorFlow only reads and transforms data here. The following settings silence TensorFlow's start-up messages.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
