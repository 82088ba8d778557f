"""Modular pipelines of diffusers, loaded from a folder of parts and called as all the others are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

StepEnd = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


def is_modular(kind: Any) -> bool:
    """Whether a class of diffusers is a modular pipeline."""
    from diffusers import ModularPipeline

    return issubclass(kind, ModularPipeline)


def load_modular(
    kind: Any, folder: Path, components: Mapping[str, str], given: Mapping[str, Any], dtype: Any, variant: str | None
) -> Any:
    """The pipeline with the parts that lie in the folder, but for the given ones; None stands for one that is not
    wanted. What its index says of other places is not followed."""
    import diffusers
    import transformers

    parts = dict(given)
    for name, class_name in components.items():
        if name not in parts:
            made = getattr(diffusers, class_name, None) or getattr(transformers, class_name)
            place: dict[str, Any] = {"local_files_only": True}
            if hasattr(made, "forward"):
                place |= {"dtype" if made.__module__.startswith("transformers") else "torch_dtype": dtype}
                place |= {"use_safetensors": True, **({"variant": variant} if variant else {})}
            parts[name] = made.from_pretrained(folder / name, **place)
    pipe = called_plainly(kind)()
    pipe.update_components(**{name: part for name, part in parts.items() if part is not None})
    return pipe


def called_plainly(kind: Any) -> Any:
    """The class of a modular pipeline that works by text alone, with the call of diffusers' other pipelines."""

    class Plain(kind):  # type: ignore[misc]
        def __call__(
            self,
            prompt: str | Sequence[str],
            negative_prompt: str | Sequence[str] | None = None,
            guidance_scale: float = 1.0,
            callback_on_step_end: StepEnd | None = None,
            **settings: Any,
        ) -> tuple[Any]:
            texts = [prompt] if isinstance(prompt, str) else list(prompt)
            against = negative_prompt if isinstance(negative_prompt, str | None) else list(negative_prompt)
            against = [against or ""] * len(texts) if not isinstance(against, list) else against
            self.update_components(guider=self.guider.new(guidance_scale=guidance_scale))
            with heard(self, callback_on_step_end):
                return (super().__call__(prompt=texts, negative_prompt=against, output="images", **settings),)

        def disable_lora(self) -> None:
            for part in _adapted(self):
                part.disable_lora()

        def enable_lora(self) -> None:
            for part in _adapted(self):
                part.enable_lora()

    Plain.__name__, Plain.__module__ = kind.__name__, kind.__module__  # both are written into files
    return Plain


def _adapted(pipe: Any) -> list[Any]:
    """Parts that carry an adapter; diffusers would also ask those that carry none, which refuse."""
    return [part for part in pipe.components.values() if getattr(part, "_hf_peft_config_loaded", False)]


@contextmanager
def heard(pipe: Any, step_end: StepEnd | None) -> Iterator[None]:
    """Inside, every step of the scheduler is told: some pipelines call nobody back."""
    if step_end is None:
        yield
        return
    scheduler, plain, count = pipe.scheduler, pipe.scheduler.step, 0

    def step(prediction: Any, timestep: Any, *args: Any, **settings: Any) -> Any:
        nonlocal count
        result = plain(prediction, timestep, *args, **settings)
        step_end(pipe, count, timestep, {})
        count += 1
        return result

    scheduler.step = step
    try:
        yield
    finally:
        del scheduler.step
