"""What folders of DAVIS, YouTube-VOS, stills, or any frames look like. No TensorFlow."""
