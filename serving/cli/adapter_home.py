"""What the servers of a home load: choosing it, and saying it."""

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import typer

from serving.cli.adapter_options import acting, adapter_store, open_registry, open_settings, warn
from serving.cli.adapter_views import show_plan
from serving.cli.console import print_json
from serving.errors import IntegrityError, InvalidInputError
from serving.plain import plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from serving.adapters.manifest import Manifest
    from serving.adapters.pin import Pin, Reference
    from serving.adapters.registry import AdapterRegistry
    from serving.adapters.versions import AdapterVersion
    from serving.arms.split import Split
    from serving.settings import Settings


def choose(
    load: str | None,
    *,
    enable: bool,
    disable: bool,
    by: str | None,
    reason: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Pin what the servers of this home load, or the frozen baseline head.

    Raises:
        VoicebotError: it cannot be pinned; switching off works without the registry.
    """
    from serving.adapters.pin import parse_reference, pin_act, write_pin
    from serving.adapters.splits import ENDED

    if enable == disable:
        raise InvalidInputError(
            "Say either --enable or --disable.",
            advice="`adapter-control --load NAME --enable` serves that adapter.",
        )
    settings = open_settings()
    store = adapter_store(settings)
    reference = parse_reference(load) if load else _pinned(store, even_if_damaged=disable)
    if enable:  # --disable must work without the registry
        registry = open_registry(settings)
        version = registry.get(reference.name, reference.ref)
        _require_intent(version.verify(), version.label)
        _require_fit(registry, version, store)
        registry.signatures.require(version.bundle, version.label)
    who = acting(settings, by)
    leaves = not (enable and _follows_default(reference))
    if dry_run:
        act = pin_act(reference, enabled=enable, by=who, reason=reason)
        ending = {ENDED: split.id} if leaves and (split := _running_split(settings)) else {}
        show_plan(replace(act, evidence={**act.evidence, **ending}), as_json=as_json)
        return
    pin = write_pin(store, reference, enabled=enable, by=who, reason=reason, warn=warn)
    what = f"{reference}" if enable else f"the frozen baseline head of {reference}"
    ended = _end_split(settings, who, f"pinned {what}: {reason}") if leaves else ""
    if as_json:
        print_json({**plain(pin), "split_ended": ended})
        return
    typer.echo(f"Servers of {settings.home} load {what} within {settings.registry_poll_s + 1:g} s.")
    if ended:
        typer.echo(f"It ended the split {ended}.")


def _follows_default(reference: "Reference") -> bool:
    """Whether a home that loads this serves the champion whose split servers follow."""
    from serving.adapters.pin import DEFAULT_NAME, Reference

    return reference == Reference(DEFAULT_NAME)


def _running_split(settings: "Settings") -> "Split | None":
    """The split that servers of this home follow; None also where the registry does not tell."""
    from serving.adapters.pin import DEFAULT_NAME
    from serving.adapters.splits import running_in
    from serving.errors import VoicebotError

    with contextlib.suppress(VoicebotError):
        return running_in(open_registry(settings).model_tags(DEFAULT_NAME))
    return None


def _end_split(settings: "Settings", who: str, reason: str) -> str:
    """End the split that servers of this home followed until now; its id, or nothing where none ran.

    A pin stands, and this home's servers leave the split by themselves, even where the registry is away.
    """
    from serving.adapters.pin import DEFAULT_NAME
    from serving.adapters.splits import running_in
    from serving.adapters.splitting import carry_out, stop_plan
    from serving.errors import MissingError, VoicebotError

    try:
        registry = open_registry(settings)
        running = running_in(registry.model_tags(DEFAULT_NAME))
        if running is None:
            return ""
        carry_out(
            registry,
            DEFAULT_NAME,
            lambda: stop_plan(registry, DEFAULT_NAME, by=who, reason=reason),
            seen=running,
        )
    except MissingError:  # no registry, no split
        return ""
    except VoicebotError as error:
        warn(f"Servers of this home leave a split of callers, but it was not ended: {error}")
        return ""
    return running.id


def cold(settings: "Settings", versions: "Sequence[AdapterVersion]") -> "list[AdapterVersion]":
    """Those versions for which this home's cache holds no scope at all."""
    from serving.cache.scopes import adapters_with_scope

    warm = adapters_with_scope(settings.home / "cache")
    return [version for version in versions if version.identity not in warm]


def home_loads(settings: "Settings") -> str:
    """What the servers of this home load, as a sentence or two."""
    from serving.adapters.pin import dialogue_reference

    spoken = dialogue_reference(settings)
    told = f" Their language model speaks with {spoken}." if spoken else ""
    return _tagger_loads(settings) + told


def how_to_follow(name: str) -> str:
    """What makes the servers of this home follow a model's champion."""
    from serving.adapters.kinds import DIALOGUE_NAME

    if name == DIALOGUE_NAME:
        return f"VOICEBOT_DIALOGUE_ADAPTER={name}"
    return f"`adapter-control --load {name} --enable`"


def _tagger_loads(settings: "Settings") -> str:
    from serving.adapters.pin import DEFAULT_NAME, Reference, read_pin

    try:
        pin = read_pin(adapter_store(settings))
    except IntegrityError as error:
        return f"Running servers of this home change nothing: {error}"
    if pin is None:
        return f"Servers of this home follow {Reference(DEFAULT_NAME)}."
    said = f"({pin.by}, {pin.at:%Y-%m-%d %H:%M} UTC)"
    if not pin.enabled:
        return f"Servers of this home load the frozen baseline head of {pin.reference}: switched off {said}."
    return f"Servers of this home load {pin.reference}: pinned {said}."


def home_follows(settings: "Settings", name: str, champion: int) -> bool:
    """Whether the servers of this home load a model's champion, as tagger or as language model."""
    from serving.adapters.pin import DEFAULT_NAME, Reference, dialogue_reference, read_pin

    spoken = dialogue_reference(settings)
    if spoken is not None and spoken.follows(name, champion):
        return True
    try:
        pin: Pin | None = read_pin(adapter_store(settings))
    except IntegrityError:
        return False
    reference = pin.reference if pin else Reference(DEFAULT_NAME)
    return (pin is None or pin.enabled) and reference.follows(name, champion)


def _require_intent(manifest: "Manifest", label: str) -> None:
    """Refuse to pin what the intent tagger cannot load."""
    from serving.adapters.manifest import Kind

    if manifest.provenance.kind != Kind.INTENT:
        raise InvalidInputError(
            f"{label} is a {manifest.provenance.kind.value} adapter; a pin chooses the intent adapter.",
            advice=f"Set VOICEBOT_DIALOGUE_ADAPTER={manifest.provenance.name} for the language model.",
        )


def _require_fit(registry: "AdapterRegistry", version: "AdapterVersion", store: "Path") -> None:
    """Refuse to pin a version that lacks intents which this home's adapter knows; warn of other gaps.

    The champion is never refused: who follows it must be able to follow a rollback.
    """
    from serving.adapters.fit import lacking, missing_of, require_fit
    from serving.adapters.pin import read_pin

    champion = registry.champion_version(version.name)
    name: str = version.name
    ref: int | str | None = champion
    if version.version != champion:
        with contextlib.suppress(IntegrityError):
            if pin := read_pin(store):
                name, ref = pin.reference.name, pin.reference.ref
    found = require_fit(registry, version, partial(missing_of, registry, name, ref))
    if found.missing:
        warn(lacking(version.label, found.missing))


def _pinned(store: "Path", *, even_if_damaged: bool) -> "Reference":
    """What this home's pin names, else the default; switching off must not fail at a damaged pin."""
    from serving.adapters.pin import DEFAULT_NAME, Reference, read_pin

    try:
        pin = read_pin(store)
    except IntegrityError as error:
        if not even_if_damaged:
            raise
        warn(f"{error.message} It is written anew.")
        pin = None
    return pin.reference if pin else Reference(DEFAULT_NAME)
