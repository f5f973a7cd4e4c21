"""How good a model is: metrics with intervals, thresholds from validation, and what could not be measured and why."""
