"""Where a model looks: class activation maps, the share of them that lies on the optic disc, and pictures of both."""
