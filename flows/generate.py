"""Generate an archive of artificial photographs."""

from __future__ import annotations

import os
import sys

from prefect import flow

from flows.cli import main
from flows.configs import GenerateConfig
from flows.resolve import workspace_of
from flows.results import GenerateResult
from glaucoma.synthetic.generate import generate_archive
from tasks.stage import ProgressArtifact, artifact_key


@flow(name="generate", flow_run_name="generate-{config.preset.value}")
def generate(config: GenerateConfig) -> GenerateResult:
    """Generate an archive of artificial fundus photographs, for tests and for a first run."""
    archive = config.archive or workspace_of(config).root / "incoming" / "generated.zip"
    made = generate_archive(
        archive,
        config.synthetic,
        report=ProgressArtifact(artifact_key("generate", archive.stem), f"Generating {archive.name}"),
        threads=os.cpu_count() or 1,
    )
    return GenerateResult(
        archive=made.path, images=made.images, patients=made.patients, layout=made.layout, sha256=made.sha256
    )


if __name__ == "__main__":
    sys.exit(main(generate, GenerateConfig))
