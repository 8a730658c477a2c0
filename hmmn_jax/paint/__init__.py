"""The server of `hmmn-jax paint`: masks of one video are painted, propagated, corrected and exported in a browser."""
