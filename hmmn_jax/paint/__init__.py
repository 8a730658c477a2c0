"""The server of `hmmn-jax paint`, with which the masks of one video are painted and corrected in a browser."""
