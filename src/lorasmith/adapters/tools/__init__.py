"""What can be done with adapter files: each tool is one file and one function; all of them run without torch."""
