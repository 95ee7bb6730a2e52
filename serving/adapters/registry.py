"""The adapter registry on MLflow; the only module here that imports MLflow.

Every change is made by one writer at a time and journalled: a `begun` row in the audit, then MLflow,
then `done`. Of each change one MLflow transaction decides (the version row, the champion alias), so a
writer that is killed leaves a change that the next writer finishes or takes back. Bundles lie in folders
of their own beside the database and never change. Rules (who may promote what) are in `promotion`.
"""

import contextlib
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from serving.adapters.absent import no_alias, no_model, no_version
from serving.adapters.audit import Act, Action, AuditEntry, AuditLog, Step
from serving.adapters.database import check_readable, check_writable, quiet_mlflow, translated
from serving.adapters.decision import GateDecision
from serving.adapters.files import copy_files
from serving.adapters.fit import Needed, load_needed
from serving.adapters.history import GAP, read_history
from serving.adapters.kinds import require_kind
from serving.adapters.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest, check_name, is_name, verify
from serving.adapters.pages import all_pages, search_versions
from serving.adapters.settlement import settle
from serving.adapters.signature import Signatures
from serving.adapters.splits import kept_because
from serving.adapters.versions import CHAMPION, MANIFEST_TAG, PLACE_TAG, AdapterVersion, tags_of, version_of
from serving.errors import (
    IntegrityError,
    InvalidInputError,
    MissingError,
    RefusedError,
    UnavailableError,
    VoicebotError,
)
from serving.files import new_folder, remove_leftovers, writing_to

if TYPE_CHECKING:
    from serving.settings import Settings

_PLACE = re.compile(r"[0-9a-f]{12}-[0-9a-f]{8}")
_LEFTOVER_AGE_S = 3_600.0
_HEAD_TAG = "audit.head"


class AdapterRegistry:
    """Registered adapters of one installation.

    Args:
        tracking_uri: MLflow's database, such as `sqlite:////srv/voicebot/mlruns/mlflow.db`.
        folder: where bundles, audit and lock lie (`settings.mlruns`).
        lock_timeout_s: how long a writer waits for another one, in seconds.
        busy_timeout_s: how long a locked SQLite database is waited for, in seconds.
        signatures: what registrations are signed with, and what promotion and loading demand.
        needed: reads which intents an adapter must know (`fit`).
    """

    def __init__(
        self,
        tracking_uri: str,
        folder: Path,
        *,
        lock_timeout_s: float = 10.0,
        busy_timeout_s: float = 5.0,
        signatures: Signatures | None = None,
        needed: Callable[[], Needed] = Needed,
    ) -> None:
        self.tracking_uri = tracking_uri
        self.folder = folder.resolve()
        self.audit = AuditLog(self.folder / "adapter-audit.jsonl", lock_timeout_s=lock_timeout_s)
        self.signatures = signatures or Signatures()
        self.needed = needed
        self._busy_timeout_s = busy_timeout_s
        self._client: Any = None
        self._opening = threading.Lock()

    @classmethod
    def from_settings(cls, settings: "Settings") -> Self:
        """The registry of an installation."""
        signatures, needed = Signatures.from_settings(settings), partial(load_needed, settings.data)
        return cls(settings.mlflow_uri, settings.mlruns, signatures=signatures, needed=needed)

    def aliases(self, name: str) -> dict[str, int]:
        """Version by alias; a few milliseconds, fit for polling.

        Raises:
            MissingError: no such model, or no database yet.
            UnavailableError: the database is locked or does not answer.
        """
        with self._mlflow(no_model(check_name(name))) as client:
            return {a: int(v) for a, v in client.get_registered_model(name).aliases.items()}

    def champion_version(self, name: str) -> int | None:
        """Version of the champion; None where nothing was promoted yet. Errors as for `aliases`."""
        return self.aliases(name).get(CHAMPION)

    def get(self, name: str, ref: str | int = CHAMPION) -> AdapterVersion:
        """A version by its number or by an alias.

        Raises:
            MissingError: no such model, version or alias, or no database yet.
            UnavailableError: the database is locked or does not answer.
        """
        aliases = self.aliases(name)
        number = ref if isinstance(ref, int) else aliases.get(ref)
        if number is None:
            raise no_alias(name, str(ref), aliases)
        with self._mlflow(no_version(name, number)) as client:
            return self._version(client.get_model_version(name, str(number)), aliases)

    def models(self) -> list[str]:
        """Names of registered models; what others keep in the same database under other names is left out.

        Raises:
            MissingError: there is no database yet.
            UnavailableError: the database is locked or does not answer.
        """
        with self._mlflow() as client:
            rows = all_pages(lambda token: client.search_registered_models(page_token=token))
        return sorted(row.name for row in rows if is_name(row.name))

    def versions(self, name: str | None = None) -> list[AdapterVersion]:
        """All versions of one model, or of all models; oldest first within a model. Errors as for `get`."""
        found: list[AdapterVersion] = []
        for model in [check_name(name)] if name else self.models():
            aliases = self.aliases(model)
            with self._mlflow() as client:
                rows = all_pages(partial(search_versions, client, f"name='{model}'"))
            ours = (self._version(row, aliases) for row in rows if MANIFEST_TAG in row.tags)
            found += sorted(ours, key=lambda version: version.version)
        return found

    def tagged(self, name: str, tag: str, value: str) -> AdapterVersion | None:
        """The first version whose tag has a value, however many there are; None where none has.

        Args:
            name: registered model.
            tag: one of ours.
            value: hexadecimal digits and dashes, so nothing that a query could misread.
        """
        aliases = self.aliases(name)
        query = f"name='{name}' AND tags.`{tag}`='{value}'"
        with self._mlflow() as client:
            rows = all_pages(partial(search_versions, client, query))
        found = (self._version(row, aliases) for row in rows if MANIFEST_TAG in row.tags)
        return min(found, key=lambda version: version.version, default=None)

    def decision(self, name: str, version: int) -> GateDecision | None:
        """The gate decision stored with a version; None where it was never judged.

        Raises:
            IntegrityError: the stored decision is gone or is not the one that was stored.
        """
        return self.get(name, version).decision()

    def history(self, name: str | None = None) -> tuple[AuditEntry, ...]:
        """Audit rows of one model, or of all, oldest first.

        Raises:
            IntegrityError: the audit was altered or shortened.
        """
        history = read_history(self, name)
        history.require_whole()
        return history.entries

    def audit_head(self, name: str) -> str | None:
        """Hash of the last audit row on a model, as the registry remembers it; None where it has none."""
        with contextlib.suppress(MissingError):
            return self.model_tags(name).get(_HEAD_TAG)
        return None

    def model_tags(self, name: str) -> dict[str, str]:
        """What is noted on a model as a whole. Errors as for `aliases`."""
        with self._mlflow(no_model(check_name(name))) as client:
            return dict(client.get_registered_model(name).tags)

    def register(
        self,
        name: str,
        bundle: Path,
        *,
        by: str,
        run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> AdapterVersion:
        """Copy a sealed bundle into the registry as a new version with the alias `challenger`.

        Registering the very same bundle again (a retried task) returns the version that it has.

        Args:
            name: registered model; must be the one that the manifest names.
            bundle: the sealed folder.
            by: who registers, for the audit.
            run_id: the MLflow run that made it.
            tags: further tags of the version.

        Raises:
            IntegrityError: the bundle, or its copy, is damaged.
            InvalidInputError: the bundle belongs to another model or kind, or a tag's name is taken.
            UnavailableError: the database or the lock is not to be had; nothing was registered.
        """
        manifest = verify(bundle)
        if manifest.provenance.name != check_name(name):
            raise InvalidInputError(f"The bundle is for {manifest.provenance.name}, not for {name}.")
        own = tags_of(manifest)
        if taken := sorted(own.keys() & (tags or {}).keys()):
            raise InvalidInputError(f"The registry itself writes the tags {', '.join(taken)}.")
        place = f"{manifest.sha256[:12]}-{uuid.uuid4().hex[:8]}"
        act = Act(Action.REGISTER, name, None, by, "new challenger", evidence={"place": place})
        with self.writing(create=True):
            require_kind(self, manifest)
            self._ensure_model(name)
            if known := self.tagged(name, MANIFEST_TAG, manifest.sha256):
                return known
            remove_leftovers(self.place(name, place).parent, _LEFTOVER_AGE_S, time.time())
            row = self.carry_out(
                act, lambda: self._store(bundle, manifest, place, run_id, {**(tags or {}), **own})
            )
            return self.get(name, row.act.version or 0)

    def delete(self, name: str, version: int, *, by: str, reason: str) -> None:
        """Remove a version and its bundle.

        Raises:
            RefusedError: it is the champion, the previous one that a rollback needs, or in a split.
            MissingError: no such version.
        """
        with self.writing():
            found = self.get(name, version)
            if kept := kept_because(found, self.model_tags(name)):
                raise RefusedError(
                    f"{found.label} is {kept} and cannot be deleted.",
                    advice="Promote another version first, or stop the split.",
                )
            evidence = {"place": found.bundle.parent.name}
            act = Act(Action.DELETE, name, version, by, reason, evidence=evidence)
            with self._mlflow() as client:
                self.carry_out(act, lambda: client.delete_model_version(name, str(version)))

    @contextlib.contextmanager
    def writing(self, *, create: bool = False) -> Iterator[None]:
        """Be the only writer, after settling what a killed writer left; what is read inside stays true.

        Args:
            create: whether the database may be made now where there is none.

        Raises:
            UnavailableError: another writer, or a lock on the database, outlasts the time limit.
        """
        with self.audit.lock():
            check_writable(self.tracking_uri, self._busy_timeout_s, create=create)
            with self._translating():
                self._open()
            for entry in self.audit.unfinished():
                self._settle(entry)
            yield

    def carry_out(self, act: Act, step: Callable[[], object]) -> AuditEntry:
        """Make a change inside `writing`: plan, deciding step, settlement.

        Args:
            act: what is done; its evidence must be enough to settle it later.
            step: the one transaction that decides.

        Returns:
            The audit row that closes the change.

        Raises:
            Exception: whatever `step` raised, where the change did not happen.
            UnavailableError: the database went away in between; the next writer settles the change.
        """
        begun, failure = self.audit.append(Step.BEGUN, act), None
        try:
            step()
        except Exception as error:
            failure = error
        try:
            row = self._settle(begun)
        except VoicebotError as error:
            raise UnavailableError(
                f"The {act.action.value} of {act.model} stopped half-way: {error.message}",
                advice="The next change of the registry finishes it or takes it back; see the history.",
            ) from (failure or error)
        if row.step == Step.ABANDONED:
            raise failure or UnavailableError(f"The {act.action.value} of {act.model} did not take effect.")
        return row

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; only inside `writing`."""
        with self._mlflow() as client:
            client.set_registered_model_alias(name, alias, str(version))

    def drop_alias(self, name: str, alias: str) -> None:
        """Remove an alias; only inside `writing`."""
        with self._mlflow() as client:
            client.delete_registered_model_alias(name, alias)

    def set_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Write tags of a version; only inside `writing`."""
        with self._mlflow() as client:
            for key, value in tags.items():
                client.set_model_version_tag(name, str(version), key, value)

    def set_model_tag(self, name: str, tag: str, value: str) -> None:
        """Note something on a model as a whole; only inside `writing`."""
        with self._mlflow() as client:
            client.set_registered_model_tag(name, tag, value)

    def place(self, name: str, place: str) -> Path:
        """Folder of one registered bundle and its decisions.

        Raises:
            IntegrityError: the place is none that `register` makes.
        """
        if not _PLACE.fullmatch(place):
            raise IntegrityError(f"A version of {name} names an impossible place: {place[:80]!r}.")
        return self.folder / "artifacts" / "adapters" / check_name(name) / place

    def _settle(self, begun: AuditEntry) -> AuditEntry:
        act = settle(self, begun.act)
        return self.record(Step.DONE if act else Step.ABANDONED, act or begun.act, closes=begun.sequence)

    def record(self, step: Step, act: Act, *, closes: int = 0) -> AuditEntry:
        """Write an audit row that ends something, and keep its hash with the model; only inside `writing`."""
        head = self.audit_head(act.model)
        if head and head not in {entry.hash for entry in self.audit.readable()}:
            act = replace(act, evidence={**act.evidence, GAP: head})
        row = self.audit.append(step, act, closes=closes)
        with contextlib.suppress(MissingError):
            self.set_model_tag(act.model, _HEAD_TAG, row.hash)
        return row

    def _store(
        self, bundle: Path, manifest: Manifest, place: str, run_id: str | None, tags: Mapping[str, str]
    ) -> None:
        """Copy a bundle to its place and make the version row, which decides."""
        name = manifest.provenance.name
        with writing_to(self.folder), new_folder(self.place(name, place)) as folder:
            signed = [SIGNATURE_FILE] if (bundle / SIGNATURE_FILE).is_file() else []
            copy_files(bundle, folder / "bundle", [*manifest.files, MANIFEST_FILE, *signed])
            verify(folder / "bundle")
            if self.signatures.private:
                self.signatures.sign(folder / "bundle")
        source = str(self.place(name, place) / "bundle")
        with self._mlflow() as client:
            client.create_model_version(name, source, run_id, tags={**tags, PLACE_TAG: place})

    def _ensure_model(self, name: str) -> None:
        with contextlib.suppress(MissingError):
            self.aliases(name)
            return
        with self._mlflow() as client:
            client.create_registered_model(name)

    def _version(self, row: Any, aliases: Mapping[str, int]) -> AdapterVersion:
        return version_of(row, aliases, self.place(row.name, row.tags.get(PLACE_TAG, "")) / "bundle")

    @contextlib.contextmanager
    def _mlflow(self, absent: MissingError | None = None) -> Iterator[Any]:
        """MLflow's client; its exceptions leave as ours, `absent` where what was asked for is not there."""
        check_readable(self.tracking_uri, self._busy_timeout_s)
        with self._translating(absent):
            yield self._open()

    @contextlib.contextmanager
    def _translating(self, absent: MissingError | None = None) -> Iterator[None]:
        """Turn exceptions of MLflow and its database into ours, also those of opening it."""
        quiet_mlflow()
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except MlflowException as error:
            raise translated(self.tracking_uri, error.error_code, error, absent) from error
        except SQLAlchemyError as error:
            raise translated(self.tracking_uri, "TEMPORARILY_UNAVAILABLE", error) from error

    def _open(self) -> Any:
        """The client, made once; the first one on a new database takes seconds (it makes the tables)."""
        with self._opening:
            if self._client is None:
                from mlflow import MlflowClient

                logging.getLogger("alembic").setLevel(logging.WARNING)
                logging.getLogger("mlflow").setLevel(logging.ERROR)
                logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
                self._client = MlflowClient(self.tracking_uri, self.tracking_uri)
            return self._client
