"""Every dialect of LoRA files: what a file is, told from its header, and one form in memory for all of them."""
