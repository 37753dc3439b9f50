"""A catalogue written by hand after PyTorch 2.13's signatures, so that these tests load no torch."""

from __future__ import annotations

from search_spaces.catalogue import (
    Argument,
    Catalogue,
    Kind,
    OptimizerEntry,
    ScheduleEntry,
    Suppression,
    TaskEntry,
)
from search_spaces.ranges import Value

NUMBER, WHOLE, FLAG, LIST = (Kind.number,), (Kind.integer,), (Kind.boolean,), (Kind.listing,)
NUMBER_OR_LIST = (Kind.number, Kind.listing)
IGNORED = ("foreach", "fused", "capturable", "differentiable")


def needed(name: str, kinds: tuple[Kind, ...]) -> Argument:
    return Argument(name=name, kinds=kinds, required=True)


def optional(name: str, kinds: tuple[Kind, ...], default: Value, names: tuple[str, ...] = ()) -> Argument:
    return Argument(name=name, kinds=kinds, default=default, names=names)


def optimizer(name: str, *own: Argument, stacked: bool = True, sums_steps: bool = False) -> OptimizerEntry:
    implementation = (
        optional("maximize", FLAG, False),
        optional("foreach", FLAG, None),
        optional("differentiable", FLAG, False),
        optional("fused", FLAG, None),
    )
    arguments = {argument.name: argument for argument in (*own, *implementation)}
    ignored = tuple(argument for argument in IGNORED if argument in arguments)
    return OptimizerEntry(
        name=name, arguments=arguments, stacked=stacked, ignored=ignored, sums_steps=sums_steps
    )


def schedule(
    name: str,
    *own: Argument,
    suppresses: tuple[Suppression, ...] = (),
    horizon: str | None = None,
    every: str = "epoch",
    watches: bool = False,
    fractional: bool = False,
) -> ScheduleEntry:
    arguments = {argument.name: argument for argument in own}
    if not watches and name != "ChainedScheduler":
        arguments["last_epoch"] = optional("last_epoch", WHOLE, -1)
    return ScheduleEntry(
        name=name,
        arguments=arguments,
        suppresses=suppresses,
        horizon=horizon,
        every=every,
        watches=watches,
        fractional=fractional,
    )


def adam(name: str, weight_decay: float) -> OptimizerEntry:
    return optimizer(
        name,
        optional("lr", NUMBER, 0.001),
        optional("betas", LIST, (0.9, 0.999)),
        optional("eps", NUMBER, 1e-8),
        optional("weight_decay", NUMBER, weight_decay),
        optional("amsgrad", FLAG, False),
    )


CYCLES = (Suppression(setting="lr"), Suppression(setting="momentum", unless_false="cycle_momentum"))

OPTIMIZERS = (
    optimizer(
        "SGD",
        optional("lr", NUMBER, 0.001),
        optional("momentum", NUMBER, 0),
        optional("dampening", NUMBER, 0),
        optional("weight_decay", NUMBER, 0),
        optional("nesterov", FLAG, False),
        sums_steps=True,
    ),
    adam("Adam", 0),
    adam("AdamW", 0.01),
    optimizer(
        "RMSprop",
        optional("lr", NUMBER, 0.01),
        optional("alpha", NUMBER, 0.99),
        optional("momentum", NUMBER, 0),
        optional("centered", FLAG, False),
        sums_steps=True,
    ),
    optimizer(
        "Muon",
        optional("lr", NUMBER, 0.001),
        optional("momentum", NUMBER, 0.95),
        optional("nesterov", FLAG, True),
        optional("ns_steps", WHOLE, 5),
        optional("adjust_lr_fn", (Kind.text,), None),
        stacked=False,
    ),
)

SCHEDULES = (
    schedule("LambdaLR", needed("lr_lambda", (Kind.function, Kind.listing))),
    schedule("StepLR", needed("step_size", WHOLE), optional("gamma", NUMBER, 0.1)),
    schedule("MultiStepLR", needed("milestones", LIST), optional("gamma", NUMBER, 0.1)),
    schedule("ConstantLR", optional("factor", NUMBER, 1 / 3), optional("total_iters", WHOLE, 5)),
    schedule("ExponentialLR", needed("gamma", NUMBER)),
    schedule("SequentialLR", needed("schedulers", (Kind.schedules,)), needed("milestones", LIST)),
    schedule("ChainedScheduler", needed("schedulers", (Kind.schedules,))),
    schedule("CosineAnnealingLR", needed("T_max", WHOLE), optional("eta_min", NUMBER, 0.0), horizon="T_max"),
    schedule(
        "CosineAnnealingWarmRestarts",
        needed("T_0", WHOLE),
        optional("T_mult", WHOLE, 1),
        optional("eta_min", NUMBER, 0.0),
        fractional=True,
    ),
    schedule(
        "ReduceLROnPlateau",
        optional("mode", (Kind.text,), "min", ("min", "max")),
        optional("factor", NUMBER, 0.1),
        optional("patience", WHOLE, 10),
        optional("threshold", NUMBER, 1e-4),
        optional("threshold_mode", (Kind.text,), "rel", ("rel", "abs")),
        optional("cooldown", WHOLE, 0),
        optional("min_lr", NUMBER_OR_LIST, 0),
        watches=True,
    ),
    schedule(
        "OneCycleLR",
        needed("max_lr", NUMBER_OR_LIST),
        optional("total_steps", WHOLE, None),
        optional("pct_start", NUMBER, 0.3),
        optional("anneal_strategy", (Kind.text,), "cos", ("cos", "linear")),
        optional("cycle_momentum", FLAG, True),
        optional("max_momentum", NUMBER_OR_LIST, 0.95),
        suppresses=CYCLES,
        horizon="total_steps",
        every="step",
    ),
    schedule(
        "CyclicLR",
        needed("base_lr", NUMBER_OR_LIST),
        needed("max_lr", NUMBER_OR_LIST),
        optional("step_size_up", WHOLE, 2000),
        optional("scale_fn", (Kind.function,), None),
        optional("cycle_momentum", FLAG, True),
        suppresses=CYCLES,
        every="step",
    ),
)

TASKS = (
    TaskEntry(
        name="digits-mlp",
        summary="Handwritten digits",
        arguments={},
        metrics=("val_loss", "val_accuracy"),
        functions=("halve_each_epoch", "warm_then_cool"),
    ),
    TaskEntry(
        name="quadratic",
        summary="A ravine",
        arguments={"condition": optional("condition", NUMBER, 100.0)},
        metrics=("val_loss",),
    ),
    TaskEntry(
        name="demanding",
        summary="Has an argument without a default and no val_loss",
        arguments={"depth": needed("depth", WHOLE)},
        metrics=("val_perplexity",),
    ),
)

CATALOGUE = Catalogue(
    optimizers={entry.name: entry for entry in OPTIMIZERS},
    schedules={entry.name: entry for entry in SCHEDULES},
    tasks={entry.name: entry for entry in TASKS},
)
