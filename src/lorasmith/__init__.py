"""lorasmith: from a folder of pictures to a LoRA that demonstrably works."""

__version__ = "0.1.0"
