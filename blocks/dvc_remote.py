"""A DVC remote with its keys, as a block: flows name the block, and the keys stand nowhere else."""

from __future__ import annotations

from typing import Self

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, model_validator

from blocks.loading import load_block
from glaucoma.datasets.remote import Remote


class DvcRemote(Block):
    """Where registered datasets are copied to: a folder, or an S3-compatible service."""

    _block_type_name = "DVC remote"
    _block_type_slug = "dvc-remote"
    _description = "Where registered datasets are copied to: a folder, or an S3-compatible service with its keys."

    url: str = Field(
        description="s3://bucket/prefix, or an absolute folder; without user and password.",
        examples=["s3://datasets/arc"],
    )
    endpoint_url: str | None = Field(
        default=None,
        description="The S3 service's address where it is not Amazon's.",
        examples=["https://s3.local:9000"],
    )
    region: str | None = Field(default=None, description="The S3 service's region.", examples=["us-east-1"])
    access_key_id: SecretStr | None = Field(
        default=None, description="Empty: S3's own means, such as AWS_ACCESS_KEY_ID in the worker's environment."
    )
    secret_access_key: SecretStr | None = Field(default=None, description="Belongs to access_key_id.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.remote()
        return self

    def remote(self) -> Remote:
        """The plain value that `glaucoma` takes; `SettingsError` where the fields do not go together."""
        return Remote(
            url=self.url,
            endpoint_url=self.endpoint_url or None,
            region=self.region or None,
            access_key_id=_plain(self.access_key_id),
            secret_access_key=_plain(self.secret_access_key),
        )


def remote_in_block(name: str) -> Remote:
    """The remote in the block `dvc-remote/<name>` of the current server; `NotFoundError` where there is no such block.

    A block with fields that do not go together is a `SettingsError`.
    """
    return load_block(DvcRemote, name, "docs/how-to/keep-datasets-on-s3.md").remote()


def _plain(secret: SecretStr | None) -> str | None:
    return (secret.get_secret_value() or None) if secret is not None else None
