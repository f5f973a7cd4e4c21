"""Generated fundus photographs with exact truth: for trying the machinery out, for tests, and for no medical claim."""
