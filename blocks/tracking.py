"""A W&B account with its key, as a block: flows name the block, and the key stands nowhere else."""

from __future__ import annotations

from typing import Self

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, model_validator

from blocks.loading import load_block
from glaucoma.training.tracking.account import PUBLIC_SERVICE, Account


class WandbAccount(Block):
    """Who sends runs to which W&B server."""

    _block_type_name = "Weights and Biases account"  # Prefect takes no & here
    _block_type_slug = "wandb-account"
    _description = "A Weights & Biases server and the API key of who sends runs there."

    api_key: SecretStr = Field(description="From the server's page of settings, under API keys.")
    base_url: str = Field(
        default=PUBLIC_SERVICE,
        description="The server's address where it is not the public service.",
        examples=["https://wandb.hospital.local"],
    )
    entity: str | None = Field(
        default=None, description="User or team that the runs belong to. Empty: the key's own.", examples=["eye-lab"]
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.account()
        return self

    def account(self) -> Account:
        """The plain value that `glaucoma` takes; `SettingsError` where the fields do not serve."""
        return Account(self.api_key.get_secret_value(), self.base_url, self.entity or None)


def account_in_block(name: str) -> Account:
    """The account in the block `wandb-account/<name>` of the current server; `NotFoundError` where there is none."""
    return load_block(WandbAccount, name, "docs/how-to/compare-runs-in-a-page.md").account()
