"""The networks: classifiers (one logit) and segmenters (disc and cup), by name, with weights from local files."""
