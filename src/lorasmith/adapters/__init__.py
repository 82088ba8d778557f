"""The adapter's file: written, read, described, inspected and proven to load."""
