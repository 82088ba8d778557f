"""``/api/secrets``, ``/api/consents``: keys of sites, which go in and never come out, and what was agreed to."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from lorasmith.credentials import Credentials
from lorasmith.errors import InputError
from lorasmith.fetching import Consents
from lorasmith.web.api.asking import Admin, Asked, Clean, StudioOf, noun

router = noun("", "keeping")
Service = Annotated[
    str, Path(max_length=300, description="civitai, huggingface, openai:HOST ...", examples=["civitai"]), Clean
]
NoticeId = Annotated[str, Path(max_length=300, description="Its id, as the list has it"), Clean]


class KeptSecret(BaseModel):
    """A service that a secret is known of; the secret itself is never told."""

    service: str
    where: str
    """The keyring, a file that only the owner reads, or the environment variable it comes from."""


class NewSecret(Asked):
    """The secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"secret": "the token that the site gave you"}]})
    secret: Annotated[SecretStr, Field(min_length=1, max_length=10_000)]


class Given(BaseModel):
    """Something that was agreed to."""

    notice: str
    given: str
    """When."""


class Agreed(Asked):
    """The words that were agreed to, as the refusal that asked for it told them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"notice": "gelbooru-terms", "title": "Terms of Gelbooru", "text": "...", "agree": True}]
        }
    )
    notice: Annotated[str, Field(min_length=1, max_length=300), Clean]
    title: Annotated[str, Field(max_length=1000), Clean]
    text: Annotated[str, Field(max_length=20_000), Clean]
    agree: Literal[True]


@router.get("/secrets", summary="Services with a secret")
def list_secrets(studio: StudioOf, admin: Admin) -> list[KeptSecret]:
    """And where each comes from; none is ever sent."""
    return [KeptSecret(service=one.service, where=one.where) for one in Credentials(studio.home).services()]


@router.put("/secrets/{service}", summary="Keep the secret of a service")
def set_secret(studio: StudioOf, admin: Admin, service: Service, asked: NewSecret) -> KeptSecret:
    """In the keyring, or in a file that only the owner of this machine reads."""
    kept = Credentials(studio.home).set(service, asked.secret.get_secret_value())
    return KeptSecret(service=service, where=kept.where)


@router.delete("/secrets/{service}", status_code=204, summary="Forget the secret of a service")
def forget_secret(studio: StudioOf, admin: Admin, service: Service) -> Response:
    """One that the environment gives is not ours to forget."""
    kept = Credentials(studio.home)
    forgotten = kept.forget(service)
    left = next((one.where for one in kept.services() if one.service == service), "")
    if left:
        raise InputError(f"{left} still gives a secret of {service}.", "Unset it where the server is started.")
    if not forgotten:
        raise InputError(f"There is no secret of {service}.", "List the secrets for those there are.")
    return Response(status_code=204)


@router.get("/consents", summary="What was agreed to")
def list_consents(studio: StudioOf) -> list[Given]:
    """And when; what is not here is asked for."""
    return [Given(notice=id, given=at) for id, at in Consents(studio.home).all().items()]


@router.post("/consents", status_code=201, summary="Agree to something")
def give_consent(studio: StudioOf, admin: Admin, asked: Agreed) -> Given:
    """To exactly these words: when they change, it is asked for again."""
    from lorasmith.fetching import Notice

    kept = Consents(studio.home)
    kept.give(Notice(asked.notice, asked.title, asked.text))
    return Given(notice=asked.notice, given=kept.all()[asked.notice])


@router.delete("/consents/{notice}", status_code=204, summary="Take a consent back")
def withdraw_consent(studio: StudioOf, admin: Admin, notice: NoticeId) -> Response:
    """What needs it asks again."""
    if not Consents(studio.home).withdraw(notice):
        raise InputError(f"There is no consent to '{notice}'.", "List the consents for those there are.")
    return Response(status_code=204)
