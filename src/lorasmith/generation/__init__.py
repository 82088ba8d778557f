"""Pictures from a base and adapters: the prompt grammar, strict loading, batches, grids."""
