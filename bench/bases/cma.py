"""FastAPI with a bearer token and a response model, and no database behind it."""

import secrets
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from bench.bases.schemas import CustomerNew, CustomerOut, example

TOKEN = "agent123"  # noqa: S105

app = FastAPI()
_PAGE = [example(number) for number in range(1, 51)]


async def require_token(
    given: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> None:
    if not secrets.compare_digest(given.credentials, TOKEN):
        raise HTTPException(401, "Send a valid token.")


HasToken = Depends(require_token)


@app.get("/api/customers/{customer_id}", dependencies=[HasToken])
async def get_customer(customer_id: int) -> CustomerOut:
    return _PAGE[customer_id % 50]


@app.get("/api/customers", dependencies=[HasToken])
async def list_customers(limit: int = 50, after: int = 0) -> list[CustomerOut]:
    return _PAGE[:limit]


@app.post("/api/customers", status_code=201, dependencies=[HasToken])
async def register_customer(new: CustomerNew) -> CustomerOut:
    return _PAGE[0].model_copy(update=new.model_dump())


@app.post("/api/customers/batch", dependencies=[HasToken])
async def register_customers(new: list[CustomerNew]) -> list[CustomerOut]:
    return [_PAGE[0].model_copy(update=one.model_dump()) for one in new]


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}
