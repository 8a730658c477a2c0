"""For developers, not in the wheel: the demo clip, and a comparison with the published code."""
