"""The tour: the whole straight line on the sandbox, and one page that shows what happened."""
