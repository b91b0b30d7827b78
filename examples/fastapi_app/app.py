"""The requests: to place an order and mend its card, to see what became of its job, and to replay that."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError, NoResultFound
from sqlalchemy.ext.asyncio import AsyncSession

from celery_jobs import AlreadyReplayed, JobNotEnded, JobNotFound, Jobs
from fastapi_app.celery_app import celery_app
from fastapi_app.database import Base, Order, async_engine
from fastapi_app.tasks import charge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with async_engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await async_engine.dispose()


app = FastAPI(lifespan=lifespan)
jobs = Jobs(celery_app)


async def new_session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(async_engine, expire_on_commit=False) as session:
        yield session  # what is not committed is rolled back


Session = Annotated[AsyncSession, Depends(new_session)]


class NewOrder(BaseModel):
    seat: str
    card: str


class NewCard(BaseModel):
    card: str


class Why(BaseModel):
    reason: str


@app.post("/orders", status_code=202)
async def place_order(new: NewOrder, session: Session) -> dict[str, str]:
    order = Order(id=uuid4().hex, seat=new.seat, card=new.card)
    session.add(order)
    # Committed, or not, with the order; sent after that.
    result = await session.run_sync(lambda session: charge.apply_async((order.id,), session=session))
    await session.commit()
    return {"order": order.id, "run": result.job_id}


@app.put("/orders/{order_id}")
async def mend_order(order_id: str, new: NewCard, session: Session) -> None:
    (await session.get_one(Order, order_id)).card = new.card
    await session.commit()


@app.get("/orders/{order_id}")
async def show_order(order_id: str, session: Session) -> dict[str, Any]:
    order = await session.get_one(Order, order_id)
    return {"seat": order.seat, "paid": order.paid}


@app.get("/runs/{run_id}")
def show_run(run_id: str) -> dict[str, Any]:  # not async: it waits for the database, in a thread that FastAPI gives it
    return jobs.get(run_id).to_json()


@app.post("/runs/{run_id}/replay", status_code=202)
def replay_run(run_id: str, why: Why) -> dict[str, str]:
    return {"run": jobs.replay(run_id, reason=why.reason).id}


@app.exception_handler(IntegrityError)
def refuse(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": "the seat is taken"}, 409)  # neither the order nor its job is there


@app.exception_handler(NoResultFound)
@app.exception_handler(JobNotFound)
def not_found(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 404)


@app.exception_handler(AlreadyReplayed)
@app.exception_handler(JobNotEnded)
def not_now(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 409)
