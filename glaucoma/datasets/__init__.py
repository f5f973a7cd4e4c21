"""Datasets in the canonical form: layouts recognised, labels and masks translated, splits made by patient."""
