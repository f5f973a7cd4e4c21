"""No library phones home: what each of them must be told, in one place.

Prefect, DVC, W&B, Great Expectations, MLflow and the Hugging Face hub report their use by default; albumentations,
Lightning and Ray, where something brings them, do too. Who wants to be counted sets the variable otherwise: what is
set already stays.
"""

from __future__ import annotations

import os

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "DVC_NO_ANALYTICS": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "LITDATA_DISABLE_VERSION_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Read by the libraries as they are imported, and inherited by every process that is started from here."""


def be_quiet() -> None:
    """Sets what is not set yet in this process's environment."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
