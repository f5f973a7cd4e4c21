"""Each stage against its limit and its peers: the same data, candidates in turn, results as ratios."""
