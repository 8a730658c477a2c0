"""The server of `hmmn-jax paint`, for painting and correcting the masks of a video in a browser."""
