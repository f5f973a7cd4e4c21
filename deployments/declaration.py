"""What a server of this project must know, as data: `prefect.yaml` and `deployments/declared/`, checked when read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError, model_validator

from deployments.gpus import load_policy
from flows.queues import ALL, ANY, queue_names
from glaucoma.errors import SettingsError, problems

T = TypeVar("T")
PROJECT = Path(__file__).resolve().parents[1]
FOLDER = Path(__file__).with_name("declared")
MARK = "arc"
"""The tag of what this project declares on a server."""
NOTIFICATION = "arc-notify"
"""The name of the notification block, of any type, by which people are told."""
OUR_POOLS = "arc-"
DEFAULT_QUEUE = "default"


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pool(_Declared):
    """A work pool."""

    type: str
    description: str = ""
    concurrency_limit: int | None = Field(default=None, ge=1)
    queues: tuple[str, ...] = Field(default=(), exclude=True, description="Beside the default one, by urgency.")
    gpu_queues: bool = Field(default=False, exclude=True, description="Has the queues by priority and GPU.")

    def queue_names(self) -> list[str]:
        """All queues that the pool must have by this machine's GPU policy, the most urgent first."""
        by_gpu = queue_names([ANY, *(f"gpu{number}" for number in experiment_gpus()), ALL]) if self.gpu_queues else []
        return [*by_gpu, *self.queues, DEFAULT_QUEUE]


class _Pools(_Declared):
    job_template: dict[str, Any]
    pools: dict[str, Pool]


class Limit(_Declared):
    """A global concurrency limit."""

    limit: int = Field(ge=0)
    slot_decay_per_second: float = Field(default=0.0, ge=0)


class Place(_Declared):
    """Where the runs of a deployment go."""

    name: str
    work_queue_name: str = DEFAULT_QUEUE
    job_variables: dict[str, Any] = Field(default_factory=dict)


class RunsAtOnce(_Declared):
    """How many runs of one deployment there may be at once."""

    limit: int = Field(ge=1)
    collision_strategy: str = "ENQUEUE"
    grace_period_seconds: int | None = None


class Schedule(_Declared):
    """A schedule of a deployment; its slug finds it again."""

    slug: str = Field(min_length=1)
    cron: str | None = None
    interval: float | None = Field(default=None, gt=0, description="Seconds.")
    anchor_date: Any = None
    rrule: str | None = None
    timezone: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    active: bool = Field(default=True, description="When it is made. Later it stays as a person left it.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.interval is not None and self.anchor_date is None:
            raise ValueError("an interval needs an anchor_date: without one it would begin anew each time")
        self.timing()
        return self

    def timing(self) -> CronSchedule | IntervalSchedule | RRuleSchedule:
        """As Prefect's client takes it; `ValueError` where it says nothing or too much."""
        when = {"cron": self.cron, "interval": self.interval, "rrule": self.rrule}
        given = {name: value for name, value in when.items() if value is not None}
        given |= {"timezone": self.timezone} if self.timezone else {}
        given |= {"anchor_date": self.anchor_date} if self.anchor_date else {}
        timing: CronSchedule | IntervalSchedule | RRuleSchedule = _TIMING.validate_python(given)
        return timing


_TIMING: TypeAdapter[Any] = TypeAdapter(CronSchedule | IntervalSchedule | RRuleSchedule)


class Deployment(_Declared):
    """One deployment of `prefect.yaml`: the parts of Prefect's form that apply carries out; any other is an error."""

    name: str
    entrypoint: str = Field(pattern=r"^flows(\.[a-z_]+){2}$")
    description: str
    tags: tuple[str, ...] = ()
    work_pool: Place
    parameters: dict[str, Any] = Field(default_factory=dict)
    schedules: tuple[Schedule, ...] = ()
    concurrency_limit: RunsAtOnce | int | None = None

    @property
    def full_name(self) -> str:
        """`flow/deployment`."""
        return f"{self.entrypoint.rpartition('.')[2].replace('_', '-')}/{self.name}"

    @property
    def at_once(self) -> RunsAtOnce | None:
        limit = self.concurrency_limit
        return RunsAtOnce(limit=limit) if isinstance(limit, int) else limit


def declared_pools() -> dict[str, Pool]:
    """The work pools, by name."""
    return _read("pools.yaml", TypeAdapter(_Pools)).pools


def job_template() -> dict[str, Any]:
    """What a caller may set for the process of a run, in every pool."""
    return _read("pools.yaml", TypeAdapter(_Pools)).job_template


def declared_variables() -> dict[str, JsonValue]:
    """Prefect variables, by name, with the value that a new one gets."""
    return _read("variables.yaml", TypeAdapter(dict[str, JsonValue]))


def declared_limits() -> dict[str, Limit]:
    """Global concurrency limits, by name."""
    return _read("limits.yaml", TypeAdapter(dict[str, Limit]))


def declared_automations() -> dict[str, dict[str, Any]]:
    """Automations, by name, as they are written: with names in place of ids."""
    return _read("automations.yaml", TypeAdapter(dict[str, dict[str, Any]]))


def deployments_of_project() -> list[Deployment]:
    """Every deployment of `prefect.yaml`, in its order."""
    path = PROJECT / "prefect.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = []
    for one in content["deployments"]:
        try:
            found.append(Deployment.model_validate(one))
        except ValidationError as error:
            raise _wrong(path, f"deployment {one.get('name')}: {problems(error)}") from error
        if "{{" in str(one):
            raise _wrong(path, f"deployment {one['name']} holds a template in {{{{ }}}}")
    return found


def declared_deployments() -> list[str]:
    """`flow/deployment` of every deployment in `prefect.yaml`."""
    return [one.full_name for one in deployments_of_project()]


def experiment_gpus() -> tuple[int, ...]:
    """The numbers of the GPUs that the policy gives to experiments."""
    return load_policy().experiment


def _read(name: str, form: TypeAdapter[T]) -> T:
    path = FOLDER / name
    try:
        return form.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (ValidationError, yaml.YAMLError) as error:
        raise _wrong(path, problems(error)) from error


def _wrong(path: Path, found: str) -> SettingsError:
    return SettingsError(
        f"{path.name}: {found}", expected="the form that the file's head describes", consequence="Nothing was applied"
    )
