"""Taggers: from pixels to probabilities, from probabilities to tags.

models.py    published models, and where one lies on this machine or would come from
layouts.py   what a folder with a tagger looks like: WD, PixAI, CL, Camie; tags and pixels of each
pixels.py    a picture as a model was trained to see it
session.py   the model in ONNX Runtime
kept.py      probabilities packed small, and many of them as arrays
rule.py      which tags become a caption, and in which order
merging.py   several taggers as one
review.py    tags near their threshold, and what people said of them
"""
