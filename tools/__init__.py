"""For developers, not in the wheel: the demo clip, the published code beside ours."""
