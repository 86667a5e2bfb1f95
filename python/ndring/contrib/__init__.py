"""Adapters that let other libraries keep their arrays in ndring: dogpile.cache, Django, zarr, OpenTelemetry.

Nothing here is imported by ``import ndring``: each module imports the library that it adapts.
"""
