"""The way of the tutorials: `def` handlers, a Session as a dependency, SQLAlchemy's own pool.

One table, and nothing of what the CRM does besides: no feed, no roles, no idempotency.
"""

import os
import secrets
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import create_engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from bench.bases.schemas import CustomerNew, CustomerOut

TOKEN = "agent123"  # noqa: S105

_url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
_is_sqlite = _url.startswith("sqlite")
engine = create_engine(_url, connect_args={"check_same_thread": False} if _is_sqlite else {})
sessions = sessionmaker(engine)


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(unique=True, default=lambda: str(uuid.uuid4()))
    name: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)
    company: Mapped[str | None]
    phone: Mapped[str | None]
    external_ref: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    updated_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


Base.metadata.create_all(engine)
app = FastAPI()


def session() -> Iterator[Session]:
    with sessions() as opened:
        yield opened


def require_token(
    given: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> None:
    if not secrets.compare_digest(given.credentials, TOKEN):
        raise HTTPException(401, "Send a valid token.")


SessionDep = Annotated[Session, Depends(session)]
HasToken = Depends(require_token)


@app.get("/api/customers/{customer_id}", response_model=CustomerOut, dependencies=[HasToken])
def get_customer(customer_id: int, db: SessionDep) -> Customer:
    customer = db.get(Customer, customer_id)
    if customer is None:
        raise HTTPException(404, "There is no such customer.")
    return customer


@app.get("/api/customers", response_model=list[CustomerOut], dependencies=[HasToken])
def list_customers(db: SessionDep, limit: int = 50, after: int = 0) -> Sequence[Customer]:
    page = select(Customer).where(Customer.id > after).order_by(Customer.id).limit(limit)
    return db.scalars(page).all()


@app.post("/api/customers", status_code=201, response_model=CustomerOut, dependencies=[HasToken])
def register_customer(new: CustomerNew, db: SessionDep) -> Customer:
    customer = Customer(**new.model_dump())
    db.add(customer)
    try:
        db.commit()
    except IntegrityError:
        raise HTTPException(409, "This e-mail address is taken.") from None
    db.refresh(customer)
    return customer


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}
