"""One file per stage: a thin Prefect task around one call into `glaucoma`."""
