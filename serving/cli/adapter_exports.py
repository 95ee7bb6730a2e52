"""`adapter-control export` and `new-key`: files that leave an installation, and keys that vouch for them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from serving.cli.adapter_options import AsJson, DryRun, Which, open_registry, open_settings
from serving.cli.console import command_errors, print_json
from serving.errors import RefusedError


def export(
    which: Which,
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    form: Annotated[
        Literal["bundle", "merged", "vllm"],
        typer.Option(help="Sealed bundle; merged into its base; or what vLLM loads (dialogue adapters)."),
    ] = "bundle",
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write one verified version to a folder of its own, whole or not at all."""
    from serving.adapters.export import Form, export_version
    from serving.adapters.pin import parse_reference

    with command_errors():
        settings = open_settings()
        reference = parse_reference(which)
        version = open_registry(settings).get(reference.name, reference.ref)
        done = export_version(version, folder, Form(form), settings, force=force, dry_run=dry_run)
        if as_json:
            print_json({"dry_run": dry_run, "exported": done})
            return
        verb = ("Would replace" if done.replaces else "Would write") if dry_run else "Wrote"
        typer.echo(f"{verb} {folder}: {done.adapter} as {form}.")
        typer.echo(done.note)


def new_key(
    file: Annotated[Path, typer.Argument(help="New file for the private key (mode 0600).")],
    as_json: AsJson = False,
) -> None:
    """Make a pair of Ed25519 keys: the private one goes to a file, the public one is printed."""
    from serving.adapters.signature import key_id, new_private_key, public_key
    from serving.files import write_once, writing_to

    with command_errors():
        private = new_private_key()
        with writing_to(file.parent):
            if not write_once(file, private.hex() + "\n"):
                raise RefusedError(f"{file} is there already; a key is never overwritten.")
        public = public_key(private)
        if as_json:
            print_json({"file": file, "public_key": public.hex(), "id": key_id(public)})
            return
        typer.echo(f"public key: {public.hex()}")
        typer.echo(f"its id in signatures: {key_id(public)[:12]}…")
        typer.echo(f"Where adapters are trained:  VOICEBOT_ADAPTER_SIGNING_KEY=$(cat {file})")
        typer.echo("On servers:                  VOICEBOT_ADAPTER_PUBLIC_KEYS with the public key")
