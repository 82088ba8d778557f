"""Our own trainer, read top to bottom.

    buckets      which shape every picture is trained in          plan        what a run will do, without torch
    sampler      which picture comes when, in which wording       objective   noise, targets, weights
    cache        latents and prompts, made once                   lora        the adapter inside the model
    optimizers   who moves the weights                            validation  the held-out loss
    preview      pictures during training                         checkpoint  what exact resume needs
    memory       what it costs, and what to do when too much      loop        the loop itself

``buckets``, ``sampler`` and ``plan`` are plain Python and NumPy; the others import torch and belong to the worker.
"""
