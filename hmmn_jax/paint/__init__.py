"""The page `hmmn-jax paint`: a server for one video on this machine, which paints, propagates, corrects and exports in a browser."""
