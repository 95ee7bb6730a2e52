"""The SQLite file of the sandbox bank: its tables, how it is made, and safe access to it.

It appears complete or not at all, readable by its owner only. Each operation has a connection of its own, so
threads share none and nothing stays open. Amounts are stored in whole cents.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from serving.errors import IntegrityError, UnavailableError
from serving.files import make_folder, write_once, writing_to
from serving.tools.money import cents
from serving.tools.sandbox_people import SyntheticCustomer

VERSION = 1
"""Of the tables; raise it when they change."""
_BUSY_S = 2.0
_TABLES = """
CREATE TABLE meta (version INTEGER, seed INTEGER, customers INTEGER);
CREATE TABLE customers (
    id TEXT PRIMARY KEY, number TEXT UNIQUE NOT NULL, name TEXT NOT NULL, birth_date TEXT NOT NULL,
    phone TEXT NOT NULL
);
CREATE TABLE accounts (
    id TEXT PRIMARY KEY, customer TEXT NOT NULL REFERENCES customers, kind TEXT NOT NULL,
    ending TEXT NOT NULL, cents INTEGER NOT NULL, overdue_cents INTEGER NOT NULL
);
CREATE TABLE transactions (
    id INTEGER PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts, day TEXT NOT NULL,
    cents INTEGER NOT NULL, text TEXT NOT NULL
);
CREATE TABLE cards (
    id TEXT PRIMARY KEY, customer TEXT NOT NULL REFERENCES customers, kind TEXT NOT NULL,
    ending TEXT NOT NULL, blocked INTEGER NOT NULL, reason TEXT NOT NULL DEFAULT ''
);
CREATE TABLE payment_plans (
    customer TEXT PRIMARY KEY REFERENCES customers, overdue_cents INTEGER NOT NULL,
    monthly_cents INTEGER NOT NULL, payments INTEGER NOT NULL, first_due TEXT NOT NULL
);
CREATE TABLE callbacks (
    id INTEGER PRIMARY KEY, customer TEXT NOT NULL REFERENCES customers, day TEXT NOT NULL, part TEXT NOT NULL
);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, action TEXT NOT NULL, customer TEXT NOT NULL,
    idempotency_key TEXT UNIQUE, request TEXT NOT NULL, outcome TEXT NOT NULL
);
CREATE INDEX audit_customer ON audit (customer, id);
CREATE INDEX transactions_account ON transactions (account, day);
CREATE TRIGGER audit_keeps BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit rows are final'); END;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit rows are final'); END;
"""


class SandboxFile:
    """One file.

    Args:
        path: where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._closed = False

    def make(self, people: Sequence[SyntheticCustomer], seed: int, today: date) -> None:
        """Make the file where it is missing; else make sure that it holds this bank.

        Args:
            people: its customers.
            seed: that they were drawn from.
            today: the day that their movements are counted back from.

        Raises:
            IntegrityError: the file is no sandbox, or one of another seed.
            UnavailableError: it cannot be made or read.
        """
        if not self._path.exists():
            with writing_to(self._path.parent):
                make_folder(self._path.parent)
                write_once(self._path, _made(people, seed, today))
        with self.reading() as db:
            found = db.execute("SELECT version, seed, customers FROM meta").fetchone()
        if tuple(found or ()) != (VERSION, seed, len(people)):
            raise IntegrityError(
                f"The sandbox bank {self._path} was made from another seed or by another version.",
                advice="Move the file away to have a new one made.",
            )

    def close(self) -> None:
        """Refuse everything from now on."""
        self._closed = True

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own, so that threads share none.

        Raises:
            UnavailableError: the file is busy, gone or cannot be read, or the bank was closed.
            IntegrityError: it is no sandbox bank.
        """
        if self._closed:
            raise UnavailableError("The sandbox bank was closed.")
        try:
            uri = f"{self._path.resolve().as_uri()}?mode=rw"
            with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)) as db:
                db.row_factory = sqlite3.Row
                yield db
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                raise IntegrityError(f"{self._path} is no sandbox bank.") from error
            raise UnavailableError("The sandbox bank does not answer now.") from error
        except sqlite3.DatabaseError as error:
            raise IntegrityError(f"{self._path} is no sandbox bank, or is damaged.") from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction; an exception inside undoes all of it."""
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")


def _made(people: Sequence[SyntheticCustomer], seed: int, today: date) -> bytes:
    """The file of a new bank."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_TABLES)
        db.execute("INSERT INTO meta VALUES (?, ?, ?)", (VERSION, seed, len(people)))
        for index, person in enumerate(people, start=1):
            _insert(db, f"c{index:05d}", person, today)
        db.commit()
        return db.serialize()


def _insert(db: sqlite3.Connection, customer: str, person: SyntheticCustomer, today: date) -> None:
    row = (customer, person.number, person.name, person.birth_date.isoformat(), person.phone)
    db.execute("INSERT INTO customers VALUES (?, ?, ?, ?, ?)", row)
    for place, account in enumerate(person.accounts):
        name = f"{customer}-a{place}"
        values = (in_cents(account.balance), in_cents(account.overdue))
        db.execute(
            "INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?)",
            (name, customer, account.kind.value, account.ending, *values),
        )
        db.executemany(
            "INSERT INTO transactions (account, day, cents, text) VALUES (?, ?, ?, ?)",
            [
                (name, (today - timedelta(days=ago)).isoformat(), in_cents(amount), text)
                for ago, amount, text in account.movements
            ],
        )
    db.executemany(
        "INSERT INTO cards (id, customer, kind, ending, blocked) VALUES (?, ?, ?, ?, ?)",
        [
            (f"{customer}-k{place}", customer, card.kind.value, card.ending, card.blocked)
            for place, card in enumerate(person.cards)
        ],
    )


def in_cents(amount: Decimal) -> int:
    """An amount in whole cents, half up."""
    return int(cents(amount) * 100)


def in_dollars(amount: int) -> Decimal:
    """Whole cents as an amount."""
    return Decimal(amount) / 100
