"""What the servers of a home load: choosing it, and saying it."""

from typing import TYPE_CHECKING

import typer

from serving.cli.adapter_options import acting, adapter_store, open_registry, open_settings, warn
from serving.cli.adapter_views import show_plan
from serving.cli.console import print_json
from serving.errors import IntegrityError, InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from serving.adapters.manifest import Manifest
    from serving.adapters.pin import Pin, Reference
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
        registry.signatures.require(version.bundle, version.label)
    who = acting(settings, by)
    if dry_run:
        show_plan(pin_act(reference, enabled=enable, by=who, reason=reason), as_json=as_json)
        return
    pin = write_pin(store, reference, enabled=enable, by=who, reason=reason, warn=warn)
    if as_json:
        print_json(pin)
        return
    what = f"{reference}" if enable else f"the frozen baseline head of {reference}"
    typer.echo(f"Servers of {settings.home} load {what} within {settings.registry_poll_s + 1:g} s.")


def home_loads(settings: "Settings") -> str:
    """What the servers of this home load, as a sentence or two."""
    from serving.adapters.dialogue import dialogue_reference

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
    from serving.adapters.dialogue import dialogue_reference
    from serving.adapters.pin import DEFAULT_NAME, Reference, read_pin

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
